"""The tables of the report as plain CSV: one row per value, all fields, full precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from evalkit import escape
from evalkit.core import ComparisonRow, MetricRow
from evalkit.report.facts import Facts


def to_csv(facts: Facts) -> dict[str, str]:
    """File name to table. The fields are those of metrics.json and comparisons.json.

    A text that a spreadsheet would run as a formula has `'` before it.
    """
    metrics = {one.measure.name for one in facts.findings}
    known = facts.run.metrics() if metrics else []  # a run that is not scored has none
    rows = [row for row in known if row.model in facts.models and row.metric in metrics]
    made: dict[str, str] = {}
    if whole := [row for row in rows if not row.group]:
        made["metrics"] = _rows(MetricRow, whole)
    if by_group := [row for row in rows if row.group]:
        made["groups"] = _rows(MetricRow, by_group)
    compared = facts.run.comparisons()
    pairs = [pair for pair in (compared.rows if compared else ()) if pair.metric in metrics]
    pairs = [pair for pair in pairs if {pair.model_a, pair.model_b} <= {*facts.models}]
    if pairs:
        made["differences"] = _rows(ComparisonRow, pairs)
    if any(facts.records.values()):
        requested = len(facts.prompts) * facts.per_prompt
        outcomes = list(dict.fromkeys(name for own in facts.outcomes.values() for name in own))
        rows_of = ([model, requested, *own.values()] for model, own in facts.outcomes.items())
        made["outcomes"] = _csv(("model", "requested", *outcomes), rows_of)
    return {f"{name}.csv": text for name, text in made.items()}


def _rows(kind: type[Any], rows: Sequence[Any]) -> str:
    return _csv([field.name for field in dataclasses.fields(kind)], map(dataclasses.astuple, rows))


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Numbers in full; None is an empty cell."""
    return escape.to_csv([header, *map(escape.spreadsheet_row, rows)])
