"""MLflow: metrics and artifacts of one run of the active experiment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow


class MLflow:
    """The tracker `mlflow`, at MLFLOW_TRACKING_URI."""

    def __init__(self, *, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name

    def log(self, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        with mlflow.start_run(run_name=self._name):
            # MLflow refuses other characters in names.
            mlflow.log_metrics({re.sub(r"[^\w\-. :/]", "_", k): v for k, v in metrics.items()})
            for path in files:
                place = path.parent.relative_to(self._folder).as_posix()
                mlflow.log_artifact(str(path), None if place == "." else place)
