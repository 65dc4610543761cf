"""Shards as jobs of Slurm, through submitit: `--engine slurm`.

Submitit writes each task to a folder, and the job its answer beside it, both with pickle. They come
from this process and its own jobs only, so the folder is new and closed to all other users.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError
from evalkit.engines import Ended
from evalkit.engines.task import Task, perform

PROGRAMS = ("sbatch", "srun", "sacct", "scancel", "scontrol")  # that submitit calls
REQUEUES = 20  # of a job that reaches its limit of time: each time it has made some more
ASK = 30.0  # seconds between questions to Slurm; an answer of a job is seen at once
LATE = 60.0  # seconds in which files of other machines become visible, and Slurm requeues


class Made:
    """The engine.

    Args:
        partition: of the cluster; "": the usual one.
        account: to which the jobs are charged; "": the usual one.
        qos: quality of service; "": the usual one.
        time: minutes; a job that needs longer is requeued, and goes on with what is missing.
        gpus: of each job.
        cpus: of each job.
        memory_gb: of each job; 0: what the cluster gives.
        array: jobs at the same time.
        setup: a line for the shell before each job, such as `module load cuda`.
        folder: for folders of submitit, which all machines see; "": `logs/slurm` of the run.
        cluster: `slurm`, or `local` to try without one: jobs are processes of this machine.
    """

    def __init__(
        self,
        *,
        partition: str = "",
        account: str = "",
        qos: str = "",
        time: int = 240,
        gpus: int = 1,
        cpus: int = 4,
        memory_gb: int = 0,
        array: int = 8,
        setup: str = "",
        folder: str = "",
        cluster: str = "slurm",
    ) -> None:
        for name, number, least in (
            ("time", time, 1), ("gpus", gpus, 0), ("cpus", cpus, 1), ("memory_gb", memory_gb, 0),
            ("array", array, 1),
        ):  # fmt: skip
            if not isinstance(number, int) or number < least:
                raise EvalkitError(
                    f"slurm.{name} is {number}; expected a whole number, {least} or more.",
                    code="engines-24",
                )
        if cluster not in ("slurm", "local"):
            raise EvalkitError(
                f"slurm.cluster is {cluster!r}; expected slurm or local.", code="engines-25"
            )
        self._local = cluster == "local"
        self._submitit = _submitit()
        if not self._local:
            _look_for_slurm()
        self.workers = array
        self._folder = Path(folder).absolute() if folder else None
        self._executor: Any = None
        given = {"partition": partition, "account": account, "qos": qos}
        self._parameters = {
            "name": "evalkit",
            "timeout_min": time,
            "gpus_per_node": gpus or None,
            "cpus_per_task": cpus,
            "mem_gb": memory_gb or None,
            "slurm_array_parallelism": array,
            "slurm_setup": [setup] if setup else None,
            # Also those that a failing node has taken down, which Slurm starts on another one.
            "slurm_additional_parameters": {"requeue": True},
            **{f"slurm_{name}": text or None for name, text in given.items()},
        }
        self._waiting: list[Task] = []
        self._jobs: list[tuple[Any, Task]] = []
        self._gone: dict[str, float] = {}  # since when, by the id of the job
        self._asked = 0.0

    def start(self, tasks: Sequence[Task]) -> None:
        if self._executor is None:
            folder = _new_folder(self._folder or Path(tasks[0].run) / "logs" / "slurm")
            self._executor = self._submitit.AutoExecutor(
                folder, cluster="local" if self._local else "slurm", slurm_max_num_timeout=REQUEUES
            )
            self._executor.update_parameters(**self._parameters)
        self._waiting += tasks
        self._submit()

    def ended(self) -> Iterable[Ended]:
        time.sleep(0.8)
        # One listing for all jobs: a shared file system is slow with single questions.
        written = set(os.listdir(self._executor.folder))
        self._ask()
        over: list[Ended] = []
        left: list[tuple[Any, Task]] = []
        for job, task in self._jobs:
            if job.paths.result_pickle.name in written:
                over.append(_answer(task, job))
                for path in (job.paths.submitted_pickle, job.paths.result_pickle):
                    path.unlink(missing_ok=True)
            elif state := self._lost(job):
                self._cancel([job.job_id])  # Slurm must not requeue what is started again here
                how = f"its job {job.job_id} ended without an answer"
                again = not state.startswith("CANCELLED")
                over.append(Ended(task, f"{how} (state {state}, see {job.paths.stderr})", again))
            else:
                left.append((job, task))
        self._jobs = left
        self._submit()
        return over

    def stop(self) -> None:
        if self._local:
            for job, _ in self._jobs:
                job.cancel()
            while not all(job.done() for job, _ in self._jobs):
                time.sleep(0.1)
        elif self._jobs:  # whole arrays
            self._cancel(sorted({job.job_id.split("_")[0] for job, _ in self._jobs}))
        self._jobs, self._waiting = [], []

    def _cancel(self, ids: Sequence[str]) -> None:
        if not self._local:
            subprocess.run(["scancel", *ids], capture_output=True, check=False)

    def _submit(self) -> None:
        """Submit what waits: to Slurm as one array, to this machine while there is room."""
        room = self.workers - len(self._jobs) if self._local else len(self._waiting)
        now, self._waiting = self._waiting[:room], self._waiting[room:]
        if not now:
            return
        core = self._submitit.core.utils
        try:
            jobs = self._executor.map_array(Shard(), now)
        except (core.FailedJobError, core.FailedSubmissionError, OSError) as error:
            raise EvalkitError(
                f"Slurm does not take the jobs: {' '.join(str(error).split())}",
                "See the options of the engine, such as `--set slurm.partition=…`.",
                code="engines-26",
            ) from error
        self._jobs += zip(jobs, now, strict=True)

    def _ask(self) -> None:
        """Ask Slurm for the states of all jobs, from time to time."""
        if self._jobs and not self._local and time.monotonic() - self._asked > ASK:
            self._jobs[0][0].watcher.update()
            self._asked = time.monotonic()

    def _lost(self, job: Any) -> str:
        """The state of a job that has ended for some time and left no answer, else ""."""
        if self._local:
            state, over = job.state, job.done()
        else:
            state = job.watcher.get_state(job.job_id, mode="cache")
            # Submitit expects every preempted job back, and clusters may cancel them.
            over = state == "PREEMPTED" or job.watcher.is_done(job.job_id, mode="cache")
        if not over:
            self._gone.pop(job.job_id, None)
            return ""
        # Never at the first look: the answer may be younger than the listing of the folder.
        since = self._gone.get(job.job_id)
        if since is None:
            self._gone[job.job_id] = time.monotonic()
            return ""
        return state if time.monotonic() - since > (0 if self._local else LATE) else ""


class Shard:
    """What a job calls, by its name in this module."""

    def __call__(self, task: Task) -> tuple[str, int]:
        number = getattr(signal, f"SIG{_submitit().JobEnvironment.USR_SIG}")
        signal.signal(number, _leave(signal.getsignal(number)))
        return perform(task)

    def checkpoint(self, task: Task) -> Any:
        """Called when a job is preempted or reaches its limit of time: the same task once more,
        which begins with what is there.
        """
        return _submitit().helpers.DelayedSubmission(self, task)


def _leave(requeue: Any) -> Any:
    """The handler of submitit for a job that has to go, which ends the process at once: it may be
    called in the code of a model, whose SystemExit is a fault of the model to evalkit.
    """

    def handler(number: int, frame: Any) -> None:
        try:
            requeue(number, frame)
        except SystemExit as end:
            logging.shutdown()
            os._exit(int(end.code or 0) % 256)

    return handler


def _answer(task: Task, job: Any) -> Ended:
    """How a task ended whose job has written an answer."""
    error = job.exception()
    if error is None:
        failure, exit_code = job.result()
        return Ended(task, failure, exit_code=exit_code)
    trace = str(error).partition(f"{'-' * 22}\n")[2].partition(f"\n{'-' * 22}")[0].split("\n")
    reason = next((line for line in reversed(trace) if line), "")
    failure = f"its job {job.job_id} failed: {reason} (see {job.paths.stderr})"
    return Ended(task, failure, again=True)


def _submitit() -> Any:
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise EvalkitError(
            "The engine slurm needs submitit, which is not installed.",
            "Type in the clone of evalkit: `pip install '.[slurm]'`.",
            code="engines-27",
        ) from error
    return submitit


def _look_for_slurm() -> None:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise EvalkitError(
            f"The engine slurm found no Slurm (no `{missing[0]}` on this machine).",
            "Start it on a machine that submits jobs, or try it without Slurm:"
            " `--set slurm.cluster=local`.",
            code="engines-28",
        )
    done = subprocess.run(
        ["sacct", "-X", "-n"], capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        raise EvalkitError(
            "The engine slurm needs the states of jobs, and `sacct` fails:"
            f" {' '.join(done.stderr.split()) or f'exit code {done.returncode}'}.",
            "Submit an array of jobs yourself, see docs/scale.md.",
            code="engines-29",
        )


def _new_folder(place: Path) -> Path:
    """A new folder for this user only: what somebody has put beside it is never read."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=place))
    except OSError as error:
        raise EvalkitError(
            f"A folder for files of jobs cannot be made in {place}: {error.strerror}.",
            "Choose another one: `--set slurm.folder=…`.",
            code="engines-30",
        ) from error
