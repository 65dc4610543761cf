"""Commands in processes that are forked from one with all imports done, to be killed at will.

So a kill at a random moment falls into the work and not into an import, and many kills take little
time. `time.perf_counter` stands still in them: what is left of a run has no timings, and all its
bytes can be compared.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

POINTS = ("replace", "replaced", "sync")  # before and after a rename; in the middle of a write


def start(
    arguments: Sequence[str], folder: Path, point: str = "", **more: Any
) -> ForkServerProcess:
    """Start `evalkit ARGUMENTS` in a folder.

    Args:
        point: "replace 7": the process gets a signal before its eighth rename.
        more: `signal`, if it is not SIGKILL; `clock`, seconds by which the clock of the day jumps
            at each look; `limit`, the bytes that a file may have; `said`, the ending of the file
            with its output.
    """
    _said(folder, more).write_text("")
    return _started(command, list(arguments), str(folder), point, more)


def _started(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    helpers = str(Path(__file__).parent)
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # an empty one is the current folder
    paths = dict.fromkeys(filter(None, [helpers, *given]))
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["forked_imports"])
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


class Command:
    """`evalkit ARGUMENTS` as a shell starts it: in a folder, with an environment.

    It has what tests use of a Popen, and its output is in files or at a terminal.
    """

    def __init__(
        self,
        arguments: Sequence[str] | str,
        cwd: Path | str = ".",
        env: Mapping[str, str] | None = None,
        terminal: str = "",
    ) -> None:
        """Args:
        arguments: of evalkit; a text is a program in Python instead.
        terminal: the name of a terminal for both streams.
        """
        self._files = [] if terminal else [tempfile.NamedTemporaryFile() for _ in range(2)]  # noqa: SIM115
        streams = [file.name for file in self._files] or [terminal] * 2
        folder, environment = str(Path(cwd).absolute()), dict(os.environ if env is None else env)
        self._process = _started(_plain, arguments, folder, streams, environment)

    def poll(self) -> int | None:
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid or 0, number)

    def wait(self, timeout: float = 60) -> int | None:
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutError
        return self._process.exitcode

    def communicate(self, timeout: float = 60) -> tuple[str, str]:
        """What it printed until its end."""
        self.wait(timeout)
        said = [Path(file.name).read_text() for file in self._files]
        for file in self._files:
            file.close()
        return said[0], said[1]

    def done(self) -> subprocess.CompletedProcess[str]:
        """As subprocess.run returns it, with the output as text."""
        output, errors = self.communicate(120)
        return subprocess.CompletedProcess([], self.returncode or 0, output, errors)


def _plain(
    arguments: Sequence[str] | str,
    folder: str,
    streams: list[str],
    environment: Mapping[str, str],
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY), number)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1) for number in (1, 2))  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path.insert(0, "")
    if isinstance(arguments, str):
        exec(arguments, {"__name__": "__main__"})
        return
    sys.argv = ["evalkit", *arguments]
    from evalkit.__main__ import main

    main()


def finish(arguments: Sequence[str], folder: Path, **more: Any) -> int | None:
    """Run a command to its end; its exit code."""
    process = start(arguments, folder, **more)
    process.join(300)
    return process.exitcode


def said(folder: Path) -> str:
    """What the latest command in a folder printed."""
    return _said(folder, {}).read_text()


def _said(folder: Path, more: Mapping[str, Any]) -> Path:
    return folder.parent / f"{folder.name}.{more.get('said', 'said')}"


def counts(folder: Path) -> dict[str, int]:
    """How often the latest command that ended by itself reached each of POINTS."""
    return json.loads((folder.parent / f"{folder.name}.counts").read_text())


def command(arguments: list[str], folder: str, point: str, more: Mapping[str, Any]) -> None:
    """What the process does."""
    out = os.open(_said(Path(folder), more), os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(out, stream)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    time.perf_counter = lambda: 0.0
    if jump := more.get("clock"):
        _jump(jump)
    if limit := more.get("limit"):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    reached = _watch(point, more.get("signal", signal.SIGKILL))
    sys.argv = ["evalkit", *arguments]
    from evalkit.__main__ import main

    try:
        main()
    finally:
        if not more:
            Path(f"{folder}.counts").write_text(json.dumps(reached))


def _jump(seconds: float) -> None:
    """Let the clock of the day jump back and forth."""
    now, chance = time.time, random.Random(0)
    time.time = lambda: now() + chance.choice((-seconds, 0.0, seconds))


def _watch(point: str, number: int) -> dict[str, int]:
    """Count what reaches a point; send itself a signal at the given one."""
    kind, _, at = point.partition(" ")
    reached = dict.fromkeys(POINTS, 0)

    def arrive(name: str, before: Callable[[], object] = lambda: None) -> None:
        if (name, str(reached[name])) == (kind, at):
            if number == signal.SIGKILL:
                before()
            os.kill(os.getpid(), number)
        reached[name] += 1

    replace, sync = os.replace, os.fsync

    def replaced(source: Any, target: Any) -> None:
        arrive("replace")
        replace(source, target)
        arrive("replaced")

    def synced(handle: int) -> None:
        # A crash may leave a part of what was written last.
        arrive("sync", lambda: _cut(handle))
        sync(handle)

    os.replace, os.fsync = replaced, synced
    return reached


def _cut(handle: int) -> None:
    size = os.fstat(handle).st_size
    if size and not os.path.isdir(f"/proc/self/fd/{handle}"):
        os.ftruncate(handle, size - min(size, 7))


def kill_at_random(
    arguments: Sequence[str],
    folder: Path,
    seconds: float,
    reached: Mapping[str, int],
    chance: random.Random,
    part: float = 1.0,
) -> bool:
    """Start a command and kill it at a moment of its work; False if it ended before.

    Half of the kills come after a random time, the others at a random point of POINTS.

    Args:
        seconds: what the command takes.
        reached: how often it reaches each point.
        part: the kill comes in this part of the work, from its beginning.
    """
    kind = chance.choice(("time", "time", "time", *POINTS))
    if kind != "time" and reached[kind]:
        process = start(arguments, folder, f"{kind} {int(chance.uniform(0, part * reached[kind]))}")
        process.join(300)
    else:
        process = start(arguments, folder)
        process.join(chance.uniform(0, part * seconds))
        process.kill()
        process.join()
    return process.exitcode == -signal.SIGKILL


def numbered(count: int) -> str:
    """A list of prompts."""
    return "".join(f"a red circle, number {at}\n" for at in range(count))
