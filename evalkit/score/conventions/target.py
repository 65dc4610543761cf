"""A quoted number: which conventions it fits, whatever the metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from evalkit.core import EvalkitError
from evalkit.score.conventions.table import ConventionRow, Fit


class Target(NamedTuple):
    """A quoted number, and half a unit of its last digit."""

    text: str
    value: float
    half_a_digit: float


def quoted(target: float | str, what: str, lowest: float, example: str) -> Target:
    """The target, which may be a text that keeps its number of digits.

    what: the metric with its article. lowest: the lowest value that it can have.
    """
    text = str(target).strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not lowest <= value < math.inf:
        raise EvalkitError(
            f"target is {text!r}; expected {what}, a number of at least {lowest:g}.",
            f"For example `--target {example}`.",
            code="score-10",
        )
    mantissa, _, exponent = text.lower().partition("e")
    half = 0.5 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return Target(text, value, half)


def compared(row: ConventionRow, target: Target) -> ConventionRow:
    """The row with the distance of the target, and whether it fits."""
    if row.value is None:
        return row
    distance = row.value - target.value
    fit: Fit = ""
    if abs(distance) <= target.half_a_digit + row.tools_differ * abs(row.value):
        fit = "rounding"
    elif row.low is not None and row.high is not None and row.low <= target.value <= row.high:
        fit = "interval"
    return replace(row, distance=distance, fit=fit)


def verdict(rows: Sequence[ConventionRow], target: Target, otherwise: str) -> str:
    """Which conventions the target fits, in a few sentences.

    otherwise: what explains a target that fits none, as the subject of a sentence.
    """
    measured = [row for row in rows if row.value is not None]
    measured.sort(key=lambda row: abs(row.distance or 0))
    sentences = [_fits(measured, target, otherwise)]
    if missing := ", ".join(row.convention for row in rows if row.value is None):
        sentences.append(f"Not measured, so not compared: {missing}.")
    return " ".join(sentences)


def _within(exact: Sequence[ConventionRow], target: Target) -> str:
    """How close a target is that fits these conventions."""
    if all(abs(row.distance or 0) <= target.half_a_digit for row in exact):
        return "to the last digit quoted"
    share = max(row.tools_differ for row in exact)
    return f"within {100 * share:.2g}%, by which tools differ"


def _fits(measured: Sequence[ConventionRow], target: Target, otherwise: str) -> str:
    exact = [row for row in measured if row.fit == "rounding"]
    if exact:
        names = " and ".join(f"{row.convention} ({row.tools})" for row in exact)
        more = "" if len(exact) == 1 else " The value does not distinguish between them."
        return f"{target.text} fits {names} {_within(exact, target)}.{more}"
    nearest = measured[0]
    closest = f"The nearest is {nearest.convention} ({nearest.tools}) with {nearest.value:.4g}"
    possible = ", ".join(row.convention for row in measured if row.fit == "interval")
    if possible:
        return (
            f"{target.text} fits no convention to the last digit quoted. {closest}. It lies in the"
            f" 95% sampling interval of {possible}: these are possible if the quoted value is of"
            " other images of the same model."
        )
    return (
        f"{target.text} fits none of these conventions. {closest}, {abs(nearest.distance or 0):.4g}"
        f" away. {otherwise} explain the difference better than these conventions."
    )
