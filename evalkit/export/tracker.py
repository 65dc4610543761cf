"""Results of a run to an experiment tracker: one hook, `log(metrics, files)`.

A tracker is an object with that method, or the name of one of the group `evalkit.trackers`. Where
it logs to follows from the tracker's own settings (MLFLOW_TRACKING_URI, WANDB_PROJECT, ...), so
that no address and no key passes through evalkit.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.features.changed import mention_changes
from evalkit.plugin_calls import said
from evalkit.run_folder import Run

RESULTS = ("metrics.json", "comparisons.json", "scores.csv", "protocol.json", "run.toml")


class Tracker(Protocol):
    """Where results go."""

    def log(self, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        """Store numbers by name, such as `dalle/fid`, and files of the run."""
        ...


def export_tracker(
    path: os.PathLike[str] | str, tracker: str | Tracker, *, name: str = ""
) -> dict[str, float]:
    """Log the numbers of metrics.flat.json, the result files and the report of a scored run.

    Args:
        path: the run folder.
        tracker: `tensorboard`, `mlflow`, `wandb`, the name of another one, or
            `package.module:attribute`; or an object with `log(metrics, files)`.
        name: of the tracker's run; by default that of the run folder.

    Returns:
        The numbers.

    Raises:
        EvalkitError: not a scored run, an unknown tracker, or one whose package is missing or that
            fails.
    """
    run = Run(path)
    run.metrics()  # raises where the run was not scored
    numbers = run.flat_metrics()
    mention_changes(run, run.models())
    files = [run.path / file for file in RESULTS if (run.path / file).is_file()]
    files += sorted(file for file in run.report_path.rglob("*") if file.is_file())
    target = _made(tracker, run, name or run.path.resolve().name)
    try:
        target.log(numbers, files)
    except Exception as error:  # a tracker may raise anything
        kind = tracker if isinstance(tracker, str) else type(tracker).__name__
        raise EvalkitError(
            f"The tracker {kind!r} failed: {said(error).strip(' .')}.",
            "Check its own settings, such as its address and key; see docs/publish.md.",
            code="export-15",
        ) from error
    return numbers


def _made(tracker: str | Tracker, run: Run, name: str) -> Tracker:
    found: Any = tracker
    if isinstance(tracker, str):
        make: Any = plugins.find("tracker", tracker)
        found = _call(make, run, name) if inspect.isclass(make) else make
    if not callable(getattr(found, "log", None)):
        raise EvalkitError(
            f"The tracker is {found!r:.80}; expected an object with log(metrics, files).",
            "See docs/publish.md.",
            code="export-16",
        )
    return found


def _call(make: Callable[..., Any], run: Run, name: str) -> Any:
    return make(folder=run.path, name=name)
