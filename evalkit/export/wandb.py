"""Weights & Biases: the summary and one artifact of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import wandb


class WeightsAndBiases:
    """The tracker `wandb`, with WANDB_PROJECT, WANDB_MODE, ..."""

    def __init__(self, *, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name

    def log(self, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        plain = re.sub(r"[^\w.-]+", "-", self._name)[:100]  # what an artifact may be called
        with wandb.init(name=self._name, job_type="evaluation") as run:
            run.summary.update(dict(metrics))
            results = wandb.Artifact(f"evalkit-{plain}", type="evaluation")
            for path in files:
                results.add_file(str(path), name=path.relative_to(self._folder).as_posix())
            run.log_artifact(results)
