"""How many prompts a metric needs to find a damage, from the decisions on splits with fewer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from evalkit.gate.decide import Decision

_POWER = 0.95  # the share of splits in which a damage has to be found
_MOST = 25  # times the prompts of the splits: beyond it, an effect is not told from noise


def prompts_needed(rows: Sequence[Decision], tests: int, alpha: float) -> int | None:
    """Prompts on each side with which a metric would find a damage; None: it does not see it.

    The lower end of the interval has to be above the margin in 95% of the splits. Its distance
    from the difference is scaled by the square root of the number of prompts.

    Args:
        rows: the decisions on one metric, one per split with the damage.
        tests: the number of p-values that are corrected together (Holm's first step).
    """
    found = [
        (one.worse, one.worse - one.low, one.margin)
        for one in rows
        if one.worse is not None and one.low is not None and one.margin is not None
    ]
    if len(found) < len(rows):
        return None
    worse, halves, margins = np.array(found).T
    beyond = float(np.mean(worse - margins))
    if beyond <= 0:
        return None
    corrected = stats.norm.isf(alpha / max(1, tests)) / stats.norm.isf(alpha)
    spread = float(np.std(worse, ddof=1)) * float(stats.norm.ppf(_POWER))
    times = ((float(np.mean(halves)) * corrected + spread) / beyond) ** 2
    return math.ceil(times * rows[0].prompts) if times <= _MOST else None
