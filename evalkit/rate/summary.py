"""`evalkit rate summary`: what the raters of a run say, and which metrics agree with them."""

from __future__ import annotations

import logging
import os
import shlex

from evalkit.core import EvalkitError
from evalkit.features.changed import mention_changes
from evalkit.ratings.rows import refresh
from evalkit.ratings.summary_file import PollSummary
from evalkit.run_folder import Run

log = logging.getLogger(__name__)


def rate_summary(path: os.PathLike[str] | str) -> list[PollSummary]:
    """Summarize the ratings of a run, one entry per study, question and kind of raters.

    Writes ratings/summary.json. A scored run gets the values as rows of metrics.json (mean_opinion,
    yes_rate, win_rate, strength), the tests between models in comparisons.json, and the agreement
    of each metric with the raters.

    Raises:
        EvalkitError: the folder is not a run, or has no ratings.
    """
    run = Run(path)
    run.prompts()  # raises for a folder that is no run
    mention_changes(run, run.models())
    found = refresh(run)
    if not found:
        raise EvalkitError(
            f"{run.path} has no ratings.",
            f"Collect them with `evalkit rate serve {shlex.quote(str(run.path))}`, or import them"
            f" with `evalkit rate import FILE --run {shlex.quote(str(run.path))}`.",
            code="rate-65",
        )
    if not run.is_scored:
        command = f"evalkit score {shlex.quote(str(run.path))}"
        log.info("not scored: to have these values beside the metrics: `%s`", command)
    elif (run.report_path / "index.html").is_file():
        command = f"evalkit report {shlex.quote(str(run.path))}"
        log.info("to have these values in the report: `%s`", command)
    return found
