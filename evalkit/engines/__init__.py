"""Engines start the shards of a run on other processes or machines, and failed ones again.

Everything they do can be done by hand with `--shard`. An engine knows nothing of images: it takes
tasks, and says which ended and how. The run folder must be seen by all machines under one path.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from evalkit.core import EvalkitError
from evalkit.engines.task import Task
from evalkit.hints import did_you_mean

# Where each engine is, and the extra that installs what it needs.
ENGINES = {
    "local": "evalkit.engines.local",
    "ray": "evalkit.engines.ray",
    "slurm": "evalkit.engines.slurm",
}


class Ended(NamedTuple):
    """A task that ended."""

    task: Task
    failure: str = ""  # in one sentence; "" for a task that did its work
    again: bool = False  # the worker died or was taken away: another try may succeed
    exit_code: int = 2  # of the failure


class Engine(Protocol):
    """Processes that perform tasks (see `worker.perform`)."""

    workers: int  # tasks that run at the same time, as far as is known

    def start(self, tasks: Sequence[Task]) -> None:
        """Start tasks, or queue them."""
        ...

    def ended(self) -> Iterable[Ended]:
        """The tasks that ended since the last call. Returns within a second."""
        ...

    def stop(self) -> None:
        """End what still runs, and leave nothing behind."""
        ...


def load(name: str, options: Mapping[str, Any]) -> Engine:
    """An engine with its options, which may be texts.

    Raises EvalkitError for an unknown engine or option, and for a package that is not installed.
    """
    if name not in ENGINES:
        raise EvalkitError(
            f"There is no engine {name!r}.", did_you_mean(name, list(ENGINES)), code="engines-1"
        )
    made = importlib.import_module(ENGINES[name]).Made
    known = inspect.signature(made).parameters
    for option in options:
        if option not in known:
            raise EvalkitError(
                f"The engine {name} has no option {option!r}.",
                did_you_mean(option, list(known)),
                code="engines-2",
            )
    return made(**{option: _typed(name, known[option], options[option]) for option in options})


def _typed(name: str, parameter: inspect.Parameter, given: Any) -> Any:
    """An option as a number where its default is one."""
    default = parameter.default
    if not isinstance(default, int | float) or isinstance(given, int | float):
        return given
    kind = type(default)
    try:
        return kind(given)
    except ValueError as error:
        expected = "a whole number" if kind is int else "a number"
        raise EvalkitError(
            f"{name}.{parameter.name} is {given!r}; expected {expected}.", code="engines-3"
        ) from error
