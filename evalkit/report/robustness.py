"""What small changes of the prompts cost, as the report and the terminal write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from evalkit.core import RobustnessRow
from evalkit.report import numbers
from evalkit.report.facts import Facts
from evalkit.report.findings import Finding
from evalkit.statistics.multiple import significant

STATEMENT = (
    "Images of changed prompts minus those of the original prompts, with the same seeds and paired"
    " by prompt; both are measured against the original text."
)


class Line(NamedTuple):
    """One row of robustness.json as text."""

    kind: str
    model: str
    original: str
    variant: str
    difference: str
    interval: str  # 95%; "" if there is none
    p: str
    verdict: str


def robustness(facts: Facts) -> list[tuple[Finding, list[Line]]]:
    """The rows of each metric that the report shows."""
    found = []
    for finding in facts.findings:
        rows = [
            row
            for row in facts.robustness
            if (row.metric, row.encoder) == (finding.measure.name, finding.encoder)
            and row.model in finding.rows
        ]
        if rows:
            found.append((finding, _lines(rows)))
    return found


def _lines(rows: Sequence[RobustnessRow]) -> list[Line]:
    widths = [row.high - row.low for row in rows if row.low is not None and row.high is not None]
    digits = numbers.decimals([row.difference for row in rows], widths)
    return [
        Line(
            row.kind,
            row.model,
            numbers.number(row.original, digits),
            numbers.number(row.variant, digits),
            numbers.signed(row.difference, digits),
            numbers.interval(row.low, row.high, digits),
            numbers.p_value(row.p_adjusted),
            _verdict(row),
        )
        for row in rows
    ]


def _verdict(row: RobustnessRow) -> str:
    if row.p_adjusted is None:
        reason = row.method.removeprefix("no interval: ")
        return f"not tested ({reason})" if row.low is None and reason else "not tested"
    if not significant(row.p_adjusted) or row.difference == 0:
        return "no significant difference"
    return "worse" if (row.difference < 0) == (row.better == "higher") else "better"
