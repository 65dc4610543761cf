"""A task of a worker: one shard of a stage. `evalkit.worker` performs it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from evalkit.shards import Shard

Stage = Literal["generate", "encode"]


@dataclass(frozen=True)
class Task:
    """A shard of a stage. Everything in it can be written as JSON."""

    stage: Stage
    run: str  # the absolute path of the run folder
    index: int
    count: int
    folder: str  # the current directory, where a user's own modules are
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the function of the stage

    @property
    def shard(self) -> Shard:
        return Shard(self.index, self.count)

    @property
    def log_path(self) -> Path:
        """What the worker says: its log, and the traceback of what nobody has foreseen."""
        return Path(self.run) / "logs" / f"{self.stage}.{self.shard.name}.txt"


def perform(task: Task) -> tuple[str, int]:
    """See `evalkit.worker.perform`, which is above this layer and found by its name."""
    return importlib.import_module("evalkit.worker").perform(task)


def as_json(task: Task) -> str:
    return json.dumps(asdict(task))
