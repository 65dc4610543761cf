"""The smallest change of a metric that the gate finds, from a model's differences with itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evalkit.gate.decide import Decision
from evalkit.gate.selftest.decide import Prepared, rows_of
from evalkit.gate.snapshot import Snapshot, State
from evalkit.statistics.intervals import GROUPS

POWER = 0.8


@dataclass(frozen=True)
class Smallest:
    """The smallest change for the worse of one metric that the gate finds in 80% of cases."""

    metric: str
    encoder: str
    group: str
    value: float  # of the whole run, in this group
    margin: float
    error: float  # standard error of a difference at the number of images of the run
    change: float | None  # None: not known, and `note` gives the reason
    percent: float | None  # of the value
    note: str = ""


def smallest_changes(test: Prepared, tables: Sequence[Sequence[Decision]]) -> Iterator[Smallest]:
    """From the spread of the differences of the model with itself.

    margin + (t of alpha / m + t of the power) standard errors, m gated metrics (Holm's first step).
    """
    pool, whole = test.pool, test.whole
    count = sum(one.p is not None for one in tables[0])
    sides_images = tables[0][0].images
    scale = math.sqrt(sides_images / max(sides_images, int((pool.rows >= 0).sum())))
    for row in rows_of(tables):
        one = next((split for split in row if split.candidate is not None), row[0])
        state = whole.states[one.metric]
        value = state.value if not one.group else _of_group(whole, state, one.group)
        rule = test.settings.groups if one.group else test.rules.get(one.metric)
        if value is None or rule is None or rule.allowed(value) is None:
            continue
        margin = rule.allowed(value) or 0.0
        units = len(whole.prompts)
        degrees = (units if state.values is not None else min(units, GROUPS)) - 1
        reach = float(stats.t.isf(test.settings.alpha / max(1, count), degrees))
        reach += float(stats.t.isf(1 - POWER, degrees))
        changes = [split.worse for split in row if split.worse is not None]
        error = scale * float(np.std(changes, ddof=1)) if len(changes) > 1 else 0.0
        change, note = margin + reach * error, ""
        if len(changes) < 2:
            change, note = None, "fewer than two splits have it"
        elif error == 0 and state.measure.range == (0.0, 1.0):
            change, note = _of_share(margin, reach, units), "as if every prompt had one image"
        elif error == 0:
            change, note = None, "all images have the same value"
        percent = 100 * change / abs(value) if change is not None and value else None
        yield Smallest(
            one.metric, one.encoder, one.group, value, margin, error, change, percent, note
        )


def _of_group(whole: Snapshot, state: State, group: str) -> float | None:
    """The mean of the values of a group of prompts."""
    pairs = zip(state.keys, state.values or (), strict=True)
    values = [value for (prompt, _), value in pairs if whole.groups[prompt] == group]
    return float(np.mean(values)) if values else None


def _of_share(margin: float, reach: float, count: int) -> float | None:
    """The share p, where none was before, with p = margin + reach sqrt(p (1 - p) / count)."""
    square = reach * reach / count  # (p - margin)^2 = square p (1 - p)
    a, b, c = 1 + square, -(2 * margin + square), margin * margin
    found = (-b + math.sqrt(b * b - 4 * a * c)) / (2 * a)
    return found if found < 1 else None
