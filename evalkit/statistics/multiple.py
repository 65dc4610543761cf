"""Multiple comparisons: Holm's correction, and the one rule of significance in evalkit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

ALPHA = 0.05  # family-wise: the probability of any false positive in a table


class Corrected(NamedTuple):
    """A p-value corrected for all comparisons of its table."""

    p: float  # to be compared with ALPHA
    level: float  # the uncorrected p-value at which this comparison would be significant


def holm(values: Sequence[float | None]) -> list[Corrected | None]:
    """p-values corrected together, in their order; None stays None. Holm 1979.

    The family-wise error rate is at most ALPHA for any dependence between the comparisons. The
    level is that of the comparison's own step, so `values[i] <= level` is equivalent to
    `p <= ALPHA`.
    """
    tested = [(p, place) for place, p in enumerate(values) if p is not None]
    corrected: list[Corrected | None] = [None] * len(values)
    running = 0.0
    for rank, (p, place) in enumerate(sorted(tested)):
        running = max(running, p * (len(tested) - rank))
        level = ALPHA * (p / running) if running > 0 else ALPHA / (len(tested) - rank)
        corrected[place] = Corrected(min(1.0, running), level)
    return corrected


def significant(corrected: float | None) -> bool:
    """Whether a difference with this corrected p-value is statistically significant."""
    return corrected is not None and corrected <= ALPHA
