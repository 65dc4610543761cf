"""Data frames to the rows that a figure draws, and what is known of a metric."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from evalkit.core import EvalkitError, Measure
from evalkit.escape import without_guard

if TYPE_CHECKING:
    import pandas

Row: TypeAlias = dict[str, Any]
Data: TypeAlias = "pandas.DataFrame | Sequence[Mapping[str, Any]]"
Metric: TypeAlias = tuple[str, str, str]  # name, encoder, reference


log = logging.getLogger(__name__)
MOST = 1e150  # the largest number that a figure shows
MINUS = "\N{MINUS SIGN}"
RATINGS = ("strength", "mean_opinion", "yes_rate", "win_rate")  # the metrics of raters


def rows_of(frame: Data, needed: Iterable[str], what: str) -> list[Row]:
    """The rows of a frame, or a list of dicts, with None for NaN and without guards of CSV files.

    Raises EvalkitError if it is no frame, if a column is missing, or if there are no rows.
    """
    found: Any = frame.to_dict("records") if hasattr(frame, "to_dict") else frame  # type: ignore
    if not isinstance(found, Sequence) or not all(isinstance(row, Mapping) for row in found):
        raise EvalkitError(
            f"Expected a data frame or a list of rows; got {type(frame).__name__}.",
            f"Give {what}.",
            code="figures-16",
        )
    rows = [{key: _cell(value) for key, value in row.items()} for row in found]
    missing = [name for name in needed if any(name not in row for row in rows)]
    if missing:
        raise EvalkitError(
            f"The frame lacks the column {missing[0]!r}; expected {', '.join(needed)}.",
            f"Give {what}.",
            code="figures-17",
        )
    if not rows:
        raise EvalkitError(
            "The frame has no rows: there is nothing to draw.", f"Give {what}.", code="figures-18"
        )
    if not (kept := drawable(rows)):
        raise EvalkitError(
            f"No row of the frame can be drawn: all have numbers beyond {MOST:g}.",
            f"Give {what}.",
            code="figures-19",
        )
    return kept


def drawable(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The rows without numbers of which an axis, or a square, is beyond float64; the log says so.

    Infinite numbers are among those that are left out.
    """
    kept = [dict(row) for row in rows if not any(_is_beyond(value) for value in row.values())]
    if len(kept) < len(rows):
        lost = f"{len(rows) - len(kept):,} of {len(rows):,}"
        log.warning("not drawn: %s rows, which have numbers beyond %g", lost, MOST)
    return kept


def _is_beyond(value: object) -> bool:
    return isinstance(value, float) and abs(value) > MOST


def on_all_prompts(rows: Iterable[Mapping[str, Any]], by: str = "") -> list[Row]:
    """The rows of metrics with a value, on all prompts and on the images of each model."""
    return [
        dict(row)
        for row in rows
        if row["value"] is not None
        and not row.get("group")
        and row.get("on", "answered") == "answered"
        and (not by or row["metric"] == by)
    ]


def metric_of(row: Mapping[str, Any]) -> Metric:
    return row["metric"], row.get("encoder") or "", row.get("reference") or ""


def by_metric(rows: Iterable[Row]) -> dict[Metric, list[Row]]:
    """The rows of each metric, encoder and reference, in their order."""
    found: dict[Metric, list[Row]] = {}
    for row in rows:
        found.setdefault(metric_of(row), []).append(row)
    return found


def one_metric(rows: Sequence[Row], metric: str | None, what: str) -> list[Row]:
    """The rows of the metric of this name; without a name, of the first one."""
    found = by_metric(row for row in rows if metric in (None, row["metric"]))
    if not found:
        known = ", ".join(dict.fromkeys(row["metric"] for row in rows)) or "none"
        raise EvalkitError(
            f"There is no metric {metric!r}, only {known}.", f"Give {what}.", code="figures-20"
        )
    return next(iter(found.values()))


def models_of(rows: Iterable[Mapping[str, Any]], *columns: str) -> list[str]:
    """The models in the order of their first row."""
    names = (row[column] for row in rows for column in columns or ("model",))
    return list(dict.fromkeys(name for name in names if name))


def measure_of(row: Mapping[str, Any]) -> Measure:
    """What is known of the metric of a row: from the row, else from the installed metric."""
    name, better = row["metric"], row.get("better") or "higher"
    if row.get("title"):
        zero = bool(row.get("from_zero"))
        return Measure(name, better, row["title"], from_zero=zero)
    from evalkit import plugins
    from evalkit.ratings.rows import MEASURES

    if name in MEASURES:
        return MEASURES[name]
    if name in plugins.metric_names():
        return plugins.metric(name).measure
    return Measure(name, better)


def title_of(row: Mapping[str, Any]) -> str:
    """The title of a metric and its encoder."""
    title, encoder = measure_of(row).title, row.get("encoder") or ""
    return title if not encoder or f"({encoder}" in title else f"{title} · {encoder}"


def short_method(method: str) -> str:
    """The method of an interval, without the counts that differ between models."""
    parts = re.split(r", | \(", method)
    # `71 prompts x 3 raters, variance components`: the first part is no method.
    kept = parts[:2] if re.match(r"\d+ prompts", method) else parts[:1]
    return re.sub(r"\d[\d,]* ", "", ", ".join(kept))


def _cell(value: object) -> object:
    if isinstance(value, str):
        return without_guard(value)
    return None if isinstance(value, float) and math.isnan(value) else value
