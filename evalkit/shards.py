"""Which part of a run a process does, where several work on one: shard i of N, counted from 0.

A shard takes every N-th image, or the images of every N-th prompt, from place i on. It needs no
network to the others: each writes files of its own into the run folder, and readers merge them.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from evalkit.core import EvalkitError

log = logging.getLogger(__name__)
T = TypeVar("T")
_ALONE = "`--shard 0/1` does everything in this process."


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, 0 <= index < count."""

    index: int = 0
    count: int = 1

    @property
    def is_whole(self) -> bool:
        return self.count == 1

    @property
    def name(self) -> str:
        """A name for files: `3-of-8`."""
        return f"{self.index}-of-{self.count}"

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """The items of this shard."""
        return items[self.index :: self.count]


WHOLE = Shard()


def shard_of(text: str | None = None) -> Shard:
    """The shard that `text` names, such as 3/8; else the one that a cluster has put into the
    environment; else the whole run. One from the environment is logged.

    Raises EvalkitError for a text that names none, and for an environment that leaves it open.
    """
    if text is not None:
        return _parsed(text)
    shard, names = from_environment(os.environ)
    if names and not shard.is_whole:
        log.info("shard %s of the run, as %s says; %s", shard, names, _ALONE)
    return shard


def refuse_copies() -> None:
    """Raise EvalkitError where this process is one of several that run one whole command.

    For the command line: a training that calls a function in one of its processes knows better.
    """
    place, names = _process(os.environ)
    if place is not None and not place.is_whole:
        raise EvalkitError(
            f"{names} is {place.index} of {place.count}: {place.count} processes run the same"
            " command, and each would do everything.",
            "Share the work among them with `evalkit generate`, then `evalkit encode`; start"
            " `evalkit run` and `evalkit score` in one process.",
            code="shards-1",
        )


def from_environment(environ: Mapping[str, str]) -> tuple[Shard, str]:
    """The shard that a cluster has assigned to this process, and the variables that say so.

    A Slurm array or an indexed Kubernetes job counts jobs; torchrun or a Slurm job step counts the
    processes of a job. Where both do, every process of every job has a shard of its own.
    """
    job, of_jobs = _job(environ)
    place, of_processes = _process(environ)
    job, place = job or WHOLE, place or WHOLE
    shard = Shard(job.index * place.count + place.index, job.count * place.count)
    return shard, " and ".join(filter(None, (of_jobs, of_processes)))


def local_rank(environ: Mapping[str, str]) -> int:
    """The number of this process among those on its machine, which shows its accelerator."""
    names = "LOCAL_RANK", *(["SLURM_LOCALID"] if "SLURM_STEP_NUM_TASKS" in environ else [])
    found = [environ[name] for name in names if environ.get(name, "").isdecimal()]
    return int(found[0]) if found else 0


def _parsed(text: str) -> Shard:
    found = isinstance(text, str) and re.fullmatch(
        r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text, re.ASCII
    )
    if not found or not int(found[1]) < int(found[2]):
        count = found and int(found[2])
        shown = f"0/{count} to {count - 1}/{count}" if count else "i/N with 0 <= i < N, such as 0/8"
        raise EvalkitError(
            f"The shard is {text!r}; expected {shown}: shards are counted from 0.",
            "Give its number and how many there are, such as 0/8 for the first of eight.",
            code="shards-2",
        )
    return Shard(int(found[1]), int(found[2]))


def _job(environ: Mapping[str, str]) -> tuple[Shard | None, str]:
    """The number of this job among those of an array."""
    if "SLURM_ARRAY_TASK_ID" in environ:
        name = "SLURM_ARRAY_TASK_ID"
        at, least, most, step, count = (
            _number(environ, f"SLURM_ARRAY_TASK_{part}", default)
            for part, default in (("ID", 0), ("MIN", 0), ("MAX", 0), ("STEP", 1), ("COUNT", 1))
        )
        regular = step > 0 and range(least, most + 1, step)
        if not regular or at not in regular or len(regular) != count:
            raise EvalkitError(
                f"The Slurm array has {count} jobs from {least} to {most} in steps of {step};"
                " expected a range, from which each job sees its number.",
                "Give the shard of each job: `--shard i/N`.",
                code="shards-3",
            )
        return Shard(regular.index(at), count), name
    if "JOB_COMPLETION_INDEX" in environ:
        name, counted = "JOB_COMPLETION_INDEX", "EVALKIT_SHARDS"
        at = _number(environ, name, 0)
        if counted not in environ:
            raise EvalkitError(
                f"{name} is {at}, and Kubernetes does not tell a job how many there are.",
                f"Give `--shard $({name})/N`, or set {counted} to the number of completions.",
                code="shards-4",
            )
        return _checked(at, _number(environ, counted, 1), name, counted), name
    return None, ""


def _process(environ: Mapping[str, str]) -> tuple[Shard | None, str]:
    """The number of this process among those of a job."""
    # A batch script has SLURM_PROCID too, and is no copy of others: only steps count their tasks.
    for name, counted in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")):
        if counted in environ or (name == "RANK" and name in environ):
            at, count = _number(environ, name, 0), _number(environ, counted, 1)
            return _checked(at, count, name, counted), name
    return None, ""


def _checked(index: int, count: int, name: str, counted: str) -> Shard:
    if not 0 <= index < count:
        raise EvalkitError(
            f"{name} is {index} and {counted} is {count}; expected 0 <= {name} < {counted}.",
            f"Unset both, or give the shard: {_ALONE}",
            code="shards-5",
        )
    return Shard(index, count)


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, str(default))
    if not (text.isascii() and text.isdecimal()):
        raise EvalkitError(
            f"{name} is {text!r}; expected a whole number.",
            f"Unset it, or give the shard: {_ALONE}",
            code="shards-6",
        )
    return int(text)
