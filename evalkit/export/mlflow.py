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
        named = {_name(key): value for key, value in metrics.items()}
        if len(named) < len(metrics):
            raise ValueError("the labels of two models are one name in MLflow")
        with mlflow.start_run(run_name=self._name):
            mlflow.log_metrics(named)
            for path in files:
                place = path.parent.relative_to(self._folder).as_posix()
                mlflow.log_artifact(str(path), None if place == "." else place)


def _name(key: str) -> str:
    """`dalle/fid/low` -> `dalle/fid low`: no name may be the folder of another one.

    MLflow refuses other characters than these.
    """
    model, metric, *more = key.split("/")
    return re.sub(r"[^\w\-. :/]", "_", " ".join([f"{model}/{metric}", *more]))
