"""Shares with few events: the bootstrap knows no spread of what did not happen.

Two models without a refusal among 60 prompts are not equal for certain: by the exact bound, one of
them may refuse up to 4.9% (Clopper and Pearson 1934, one-sided, 95%). So where fewer than FEW
prompts changed, the upper end of the interval is at least this bound on the share of prompts that
become worse, and the p-value is at least that of the exact tests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from scipy import stats

from evalkit.gate.snapshot import Key, State

FEW = 10  # prompts that changed


class Events(NamedTuple):
    """How many prompts changed for the worse and for the better."""

    worse: int
    better: int
    prompts: int

    def high(self, level: float) -> float:
        """The largest worsening that is possible at this two-sided level.

        A change of a prompt is at most 1, so the worsening is at most the share of prompts that
        become worse.
        """
        return float(stats.beta.ppf(1 - level / 2, self.worse + 1, self.prompts - self.worse))

    def p(self, margin: float) -> float:
        """The exact p-value of a worsening above the margin.

        The larger one of the two ends of the hypothesis: no prompt becomes better, or as many as
        become worse (the sign test).
        """
        alone = stats.binom.sf(self.worse - 1, self.prompts, min(1.0, margin))
        sign = stats.binom.sf(self.worse - 1, self.worse + self.better, 0.5)
        return float(max(alone, sign))

    def is_better(self, alpha: float) -> bool:
        """Whether the sign test says that it improved."""
        return bool(stats.binom.sf(self.better - 1, self.worse + self.better, 0.5) <= alpha)

    def more_prompts(self, margin: float, alpha: float) -> int | None:
        """Further prompts without any change that would exclude a worsening by the margin.

        margin: below 1, and as large as `high` at least. None without a margin: none are enough.
        """
        if margin == 0:
            return None
        return max(1, math.floor(math.log(alpha) / math.log1p(-margin)) + 1 - self.prompts)


def few_events(
    one: State, other: State, changes: Mapping[Key, float], sign: float
) -> Events | None:
    """The events of a share of 0/1 values that few prompts changed; None for other metrics.

    changes: candidate - baseline for each image; sign: 1 where lower is better.
    """
    values = {*(one.values or ()), *(other.values or ())}
    if one.measure.range != (0.0, 1.0) or not changes or not values <= {0.0, 1.0}:
        return None
    sums: dict[str, float] = {}
    for (prompt, _), change in changes.items():
        sums[prompt] = sums.get(prompt, 0.0) + sign * change
    worse, better = sum(one > 0 for one in sums.values()), sum(one < 0 for one in sums.values())
    return Events(worse, better, len(sums)) if worse + better < FEW else None
