"""Shards in processes of this machine, each with an accelerator of its own: `--engine local`."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from typing import IO

from evalkit.core import EvalkitError
from evalkit.engines import Ended
from evalkit.engines.task import Task, as_json
from evalkit.terminal import one_line


class Made:
    """The engine.

    Args:
        workers: processes; 0: one per GPU, else one per two cores.
    """

    def __init__(self, *, workers: int = 0) -> None:
        if workers < 0:
            raise EvalkitError(f"local.workers is {workers}; expected 1 or more.", code="engines-7")
        self.workers = workers or _usual()
        self._waiting = queue.SimpleQueue[Task | None]()  # None ends a thread
        self._ended = queue.SimpleQueue[Ended]()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}  # by place
        self._said: list[IO[bytes]] = []  # their stderr
        self._threads: list[threading.Thread] = []
        self._stopped = False

    def start(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self._waiting.put(task)
        for place in range(len(self._processes), min(self.workers, len(tasks))):
            self._said.append(tempfile.TemporaryFile())  # noqa: SIM115 (closed by `stop`)
            self._processes[place] = _started(place, self._said[place])
            self._threads.append(threading.Thread(target=self._serve, args=(place,), daemon=True))
            self._threads[-1].start()

    def ended(self) -> Iterable[Ended]:
        with contextlib.suppress(queue.Empty):
            yield self._ended.get(timeout=0.5)
            while True:
                yield self._ended.get_nowait()

    def stop(self) -> None:
        self._stopped = True
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        for process in self._processes.values():
            _close(process)
        for said in self._said:
            said.close()

    def _serve(self, place: int) -> None:
        """Give one process task after task, and replace it when it dies."""
        while (task := self._waiting.get()) is not None and not self._stopped:
            if self._processes[place].poll() is not None:
                _close(self._processes[place])
                self._processes[place] = _started(place, self._said[place])
            self._ended.put(_done(task, self._processes[place], self._said[place]))


def _usual() -> int:
    import torch

    return torch.cuda.device_count() or max(1, (os.cpu_count() or 1) // 2)


def _started(place: int, said: IO[bytes]) -> subprocess.Popen[bytes]:
    # -P: files of the current folder must not take the place of modules of Python.
    command = [sys.executable, "-P", "-m", "evalkit.worker"]
    environment = {**os.environ, "LOCAL_RANK": str(place)}
    said.truncate(0)
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=said, env=environment)


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what a dead process has not read
                pipe.close()


def _done(task: Task, process: subprocess.Popen[bytes], said: IO[bytes]) -> Ended:
    """How a task ends in a process."""
    assert process.stdin is not None
    assert process.stdout is not None
    line = b""
    with contextlib.suppress(OSError):
        process.stdin.write(as_json(task).encode() + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
    with contextlib.suppress(ValueError):
        failure, exit_code = json.loads(line)
        return Ended(task, failure, exit_code=exit_code)
    code = process.wait()
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    said.seek(0)
    last = said.read().decode("utf-8", "replace").strip().split("\n")[-1]
    why = f": {one_line(last)[:200]}" if last else ""
    # A worker that ends at once has written none.
    where = f" (its log: {task.log_path})" if task.log_path.is_file() else ""
    return Ended(task, f"its process ended with {how}{why}{where}", again=True)
