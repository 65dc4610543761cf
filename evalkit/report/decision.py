"""One decision of the gate as text, as the terminal, the page, JUnit and GitHub show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from evalkit.report import numbers


class Shown(NamedTuple):
    """The numbers of one decision with the same digits, and why it is so."""

    candidate: str
    baseline: str
    worse: str
    interval: str  # "" if there is none
    margin: str
    reason: str  # "" where the numbers say it


def shown(one: Mapping[str, Any]) -> Shown:
    """The text of a decision.

    one: a row of `decisions` in gate.json.
    """
    low, high = one["low"], one["high"]
    width = [] if low is None or high is None else [high - low]
    values = [one[name] for name in ("candidate", "baseline", "margin")]
    digits = min(numbers.decimals([value for value in values if value is not None], width), 4)
    return Shown(
        candidate=numbers.number(one["candidate"], digits),
        baseline=numbers.number(one["baseline"], digits),
        worse=numbers.DASH if one["worse"] is None else numbers.signed(one["worse"], digits),
        interval=numbers.interval(low, high, digits),
        margin=numbers.number(one["margin"], digits),
        # Of a regression by the interval, the numbers say it.
        reason="" if (one["verdict"], one["basis"]) == ("REGRESSED", "paired") else one["reason"],
    )
