"""What raters say as rows of metrics.json and comparisons.json, beside those of the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from evalkit.core import ComparisonRow, Comparisons, Measure, MetricRow
from evalkit.ratings.concordance import agreement_rows, image_pairs
from evalkit.ratings.exclusion import read_excluded
from evalkit.ratings.files import ratings_of, studies
from evalkit.ratings.judge_figures import judge_figures
from evalkit.ratings.polls import Poll, polls
from evalkit.ratings.summary import summarize
from evalkit.ratings.summary_file import PollSummary
from evalkit.run_folder import Run
from evalkit.statistics.multiple import ALPHA


def _measure(name: str, title: str, meaning: str, paper: str = "", **more: Any) -> Measure:
    return Measure(name, "higher", title, meaning, paper, from_ratings=True, **more)


_TABLE = (
    _measure("mean_opinion", "Mean opinion", "Mean of the answers on the scale."),
    _measure("yes_rate", "Yes rate", "Share of answers that are yes.", range=(0.0, 1.0)),
    _measure(
        "win_rate", "Win rate",
        "Share of pairs in which this model's image is preferred; a tie counts half.",
        range=(0.0, 1.0),
    ),
    _measure(
        "strength", "Strength",
        "Bradley-Terry strength in Elo points, mean 0: 400 points are odds of ten to one.",
        "https://doi.org/10.1093/biomet/39.3-4.324",
    ),
)  # fmt: skip
MEASURES = {measure.name: measure for measure in _TABLE}
_STATEMENT = (
    "Ratings are compared by prompts and raters; the p-values of each question of a study are"
    " corrected by themselves (Holm)."
)


def refresh(run: Run) -> list[PollSummary]:
    """Put the ratings of a run into its derived files; returns what is in ratings/summary.json.

    In a scored run, rows of earlier ratings are replaced. Without ratings, nothing is written.
    """
    with run.writing_results():
        return _refresh(run)


def _refresh(run: Run) -> list[PollSummary]:
    asked = _asked(run)
    found = [_summarized(run, poll) for poll in asked]
    if found:
        run.write_summary([asdict(one) for one in found])
    if run.is_scored:
        _into_metrics(run, [(poll.kept, one) for poll, one in zip(asked, found, strict=True)])
    run.renew_checksums()
    return found


def _summarized(run: Run, poll: Poll) -> PollSummary:
    made = summarize(poll)
    if poll.kind == "human":
        return made
    return replace(made, judge=judge_figures(run, poll.study, poll.question))


def pair_rows(run: Run) -> list[dict[str, Any]]:
    """Each pair of images that raters compared beside the metrics; see `image_pairs`."""
    return image_pairs(run, [poll.kept for poll in _asked(run)], run.metrics())


def _asked(run: Run) -> list[Poll]:
    """The polls of a run; [] without ratings."""
    if not run.ratings_path.is_dir():
        return []
    return polls(studies(run), ratings_of(run), read_excluded(run))


def _into_metrics(run: Run, told: Sequence[tuple[Poll, PollSummary]]) -> None:
    before, found = run.metrics(), [summary for _, summary in told]
    kept = [row for row in before if row.metric not in MEASURES]
    if not found and len(kept) == len(before):
        return
    known = run.models()
    rows = kept + [row for one in found for row in metric_rows(one) if row.model in known]
    tested = [row for one in found for row in one.comparisons if _of(row, known)]
    comparisons = run.comparisons() or Comparisons("", 1 - ALPHA, 0, ())
    own = [row for row in comparisons.rows if row.metric not in MEASURES]
    if own or tested:
        parts = (
            comparisons.statement.removesuffix(_STATEMENT).rstrip(),
            _STATEMENT if tested else "",
        )
        statement = " ".join(filter(None, parts))
        run.write_comparisons(replace(comparisons, statement=statement, rows=(*own, *tested)))
    protocol = run.protocol()
    measures = {
        name: value for name, value in protocol.get("measures", {}).items() if name not in MEASURES
    }
    used = dict.fromkeys(row.metric for row in rows if row.metric in MEASURES)
    measures |= {name: MEASURES[name].stated() for name in used}
    run.write_protocol(protocol | {"measures": measures})
    whole = [row for row in kept if row.on == "answered" and not row.group]
    run.write_metrics(rows, agreement_rows(run, told, whole))


def metric_rows(found: PollSummary) -> list[MetricRow]:
    """One row per model and value."""
    excluded = f"; {len(found.excluded)} excluded" if found.excluded else ""
    counted = len(found.raters) - len(found.excluded)
    rows = []
    for one in found.results:
        told = one.result
        value, method = told.value, told.method
        note = f"{one.votes} answers of {counted} raters{excluded}"
        if one.all_raters is not None:
            note += f"; {one.all_raters:.4g} with all raters"
        rows.append(
            MetricRow(
                model=one.model,
                metric=one.metric,
                encoder=found.name,
                reference=found.study,
                value=value,
                low=told.low,
                high=told.high,
                count=one.images,
                requested=found.requested,
                better="higher",
                interval=method if value is not None else "",
                note=note if value is not None else method,
            )
        )
    return rows


def _of(row: ComparisonRow, models: Sequence[str]) -> bool:
    return row.model_a in models and row.model_b in models
