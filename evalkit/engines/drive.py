"""All shards of a stage by an engine: dead ones again, one progress bar, every failure said."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError
from evalkit.engines import Ended, Engine, load
from evalkit.engines.task import Stage, Task
from evalkit.locks import alone
from evalkit.run_folder import Run
from evalkit.terminal import progress

log = logging.getLogger(__name__)
TRIES = 3  # of a shard whose worker dies
PER_WORKER = 4  # shards, so that a slow one does not keep all others waiting


class Workers:
    """An engine for the shards of a run; as a context manager, it ends what it has started.

    Args:
        name: of the engine.
        options: options by name of the engine; those of others stay.
        shards: parts of a run; None: some for each worker.
    """

    def __init__(self, name: str, options: dict[str, Any], shards: int | None) -> None:
        if shards is not None and shards < 1:
            raise EvalkitError(f"shards is {shards}; expected 1 or more.", code="engines-4")
        self._engine = load(name, options.pop(name, {}))
        self._given = shards

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.stop()

    @cached_property
    def _shards(self) -> int:
        # Asked late: some engines connect to a cluster to know their workers.
        return self._given or PER_WORKER * self._engine.workers

    def generate(self, run: Run, labels: Sequence[str], missing: int, **settings: Any) -> None:
        """Make the missing images of these models; see `drive` for what is raised."""
        if missing:
            todo = _tasks("generate", run, min(self._shards, missing), settings)
            with _alone(run):
                drive(self._engine, todo, [run.image_folder(label) for label in labels], missing)

    def encode(self, run: Run, **settings: Any) -> None:
        """Encode all images; see `drive` for what is raised."""
        todo = _tasks("encode", run, min(self._shards, len(run.prompts())), settings)
        with _alone(run):
            drive(self._engine, todo)


def workers_of(
    name: str | None,
    options: Mapping[str, Any] | None,
    shards: int | None,
    shard: str | None = None,
) -> tuple[Workers | None, dict[str, Any]]:
    """The workers that a call asks for, if it names an engine, and the options of all others.

    Raises EvalkitError for a shard beside an engine, and for shards without one.
    """
    left = dict(options or {})
    if name is not None:
        if shard is not None:
            raise EvalkitError(
                "Both a shard and an engine are given; expected one of them.",
                "An engine starts all shards: leave the shard out.",
                code="engines-31",
            )
        return Workers(name, left, shards), left
    if shards is not None:
        raise EvalkitError(
            "shards is given, but no engine that runs them.",
            "Name one: `--engine local`.",
            code="engines-5",
        )
    return None, left


def _alone(run: Run) -> contextlib.AbstractContextManager[None]:
    """A block in which no other command starts shards on a run."""
    return alone(run.path / ".engine.lock", f"Another process has shards of {run.path} at work.")


def _tasks(stage: Stage, run: Run, shards: int, settings: Mapping[str, Any]) -> list[Task]:
    """One task per shard. Settings that are None are left out."""
    given = {name: value for name, value in settings.items() if value is not None}
    path, folder = str(run.path.absolute()), os.getcwd()
    return [Task(stage, path, index, shards, folder, given) for index in range(shards)]


def drive(
    engine: Engine, todo: Sequence[Task], manifests: Sequence[Path] = (), total: int = 0
) -> None:
    """Perform all tasks.

    Args:
        manifests: the folders of manifests whose rows the progress bar counts; without them it
            counts the shards.
        total: the rows that are missing.

    Raises:
        EvalkitError: every shard that failed, with its reason. The others are done.
    """
    tries, failed = Counter[int](), dict[int, Ended]()  # by number of the shard
    stage = todo[0].stage
    rows = _Rows(manifests)
    total = total if manifests else len(todo)
    unit = "images" if manifests else "shards"
    title = f"{stage} in {len(todo)} shards"
    waiting = len(todo)
    with progress(title, total, unit) as advance:
        engine.start(todo)
        while waiting:
            again: list[Task] = []
            for end in engine.ended():
                task = end.task
                tries[task.index] += 1
                if end.failure and end.again and tries[task.index] < TRIES:
                    log.warning("shard %s: %s; it is started again", task.shard, end.failure)
                    again.append(task)
                    continue
                waiting -= 1
                if end.failure:
                    failed[task.index] = end
                if not manifests:
                    advance(1)
            if again:
                engine.start(again)
            if manifests:
                advance(rows.new())
    if failed:
        reasons: dict[str, list[str]] = {}
        for task in todo:
            if task.index in failed:
                reasons.setdefault(failed[task.index].failure, []).append(str(task.shard))
        said = "; ".join(f"{', '.join(shards)}: {why}" for why, shards in reasons.items())
        raise EvalkitError(
            f"{len(failed)} of {len(todo)} shards failed: {said}",
            "Run the same command again: what is done is kept.",
            max(one.exit_code for one in failed.values()),
            code="engines-6",
        )


class _Rows:
    """Counts the rows that workers add to manifests."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._read: dict[Path, int] = {}
        self.new()

    def new(self) -> int:
        """The rows since the last call."""
        found = 0
        for path in (one for folder in self._folders for one in folder.glob("manifest.*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                content = file.read()
            found += content.count(b"\n")
            self._read[path] = self._read.get(path, 0) + len(content)
        return found
