"""Is the difference between two models real? Paired by prompt, since both models drew the same
prompts.

- `paired_means` for means of per-image values: whole prompts are drawn with replacement and the
  mean difference is taken each time (the clustered bootstrap of `intervals`, on the difference).
- `paired_sets` for figures of a set (FID, KID, recall ...): the same groups of prompts are left out
  of both models, and the group jackknife is taken of the difference. Never a percentile bootstrap:
  see `intervals`.
- `holm` corrects p-values of a whole table (Holm 1979): the chance that any of its verdicts is
  false stays at 5% at most, whatever the dependence between them.

p-values are two-sided and belong to the intervals: p < 0.05 exactly where the 95% interval leaves
zero out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from evalkit.statistics.intervals import DRAWS, group_jackknife

ALPHA = 0.05
_LEAST_DRAWS = (
    10  # on one side of zero, below which a bootstrap cannot tell a small p from a smaller one
)


class Difference(NamedTuple):
    """The first model's figure less the second's."""

    value: float
    low: float | None  # of the 95% interval; None: none can be given, and `method` says why
    high: float | None
    p: float | None  # two-sided, not corrected
    degrees: int  # of freedom of the Student t behind p
    method: str


def paired_means(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    clusters: NDArray[np.int64],
    draws: int = DRAWS,
    seed: int = 0,
) -> Difference:
    """Difference of the means of paired values [N] and [N]; clusters int [N], the prompt of each
    pair, 0 .. C - 1.

    The interval is that of the clustered bootstrap, percentiles expanded for few prompts. p is the
    level at which that interval would just touch zero; beyond the reach of the draws it follows
    from Student's t with the bootstrap's standard error.
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    value, sizes = float(differences.mean()), np.bincount(clusters).astype(np.float64)
    number = len(sizes)
    if not differences.any():
        return Difference(
            0.0, 0.0, 0.0, 1.0, max(1, number - 1), "the values are equal, image by image"
        )
    if number < 2:
        return Difference(value, None, None, None, 1, "no interval: one prompt only")
    means = _bootstrap(np.bincount(clusters, differences).astype(np.float64), sizes, draws, seed)
    degrees, widening = number - 1, math.sqrt(number / (number - 1))
    tail = stats.norm.cdf(stats.t.ppf(ALPHA / 2, degrees) * widening)
    low, high = np.quantile(means, [tail, 1 - tail])
    beyond = int(min((means <= 0).sum(), (means >= 0).sum()))
    reached = _p_of_tail(max(beyond, _LEAST_DRAWS) / draws, degrees, widening)
    error = float(means.std(ddof=1))
    smooth = 2 * float(stats.t.sf(abs(value) / error, degrees)) if error > 0 else 0.0
    p = reached if beyond >= _LEAST_DRAWS else min(reached, smooth)
    return Difference(
        value,
        float(low),
        float(high),
        p,
        degrees,
        f"paired bootstrap over {number} prompts, {draws} draws",
    )


def paired_sets(
    first: float, second: float, first_without: Tensor, second_without: Tensor, groups: Tensor
) -> Difference:
    """Difference of two figures of sets, from their values with each group of prompts left out,
    float64 [G] and [G].

    groups: int [N], the group of every image, the same for both models.
    """
    value, left_out = first - second, first_without.double() - second_without.double()
    degrees = len(left_out) - 1
    if value == 0 and not bool(left_out.any()):
        return Difference(
            0.0,
            0.0,
            0.0,
            1.0,
            max(1, degrees),
            "the figures are equal, with and without every group of prompts",
        )
    if not bool(torch.isfinite(left_out).all()):
        return Difference(
            value,
            None,
            None,
            None,
            max(1, degrees),
            "no interval: the figure is not defined without every group of prompts",
        )
    found = group_jackknife(value, left_out, groups)
    if found.low is None or found.high is None:
        return Difference(value, None, None, None, max(1, degrees), found.method)
    error = (found.high - found.low) / 2 / float(stats.t.ppf(1 - ALPHA / 2, degrees))
    p = 2 * float(stats.t.sf(abs(value) / error, degrees))
    return Difference(value, found.low, found.high, p, degrees, f"paired {found.method}")


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for all that are there, in their order; None stays None. Holm 1979."""
    places = sorted(
        (place for place, p in enumerate(values) if p is not None),
        key=lambda place: values[place] or 0.0,
    )
    corrected: list[float | None] = [None] * len(values)
    running = 0.0
    for rank, place in enumerate(places):
        running = max(running, min(1.0, (values[place] or 0.0) * (len(places) - rank)))
        corrected[place] = running
    return corrected


def needed(difference: Difference, prompts: int, corrected: float | None) -> int | None:
    """How many prompts it would take to tell the two models apart if the difference stayed as it
    is; None where they are already.

    The standard error falls with 1 / sqrt(prompts). corrected: p after `holm`; the same correction
    is asked of the larger count.
    """
    p = difference.p
    if p is None or corrected is None or corrected <= ALPHA or difference.value == 0:
        return None
    times = max(1.0, corrected / p) if p > 0 else 1.0
    seen = float(stats.t.isf(min(p, 1 - 1e-12) / 2, difference.degrees))
    asked = float(stats.t.isf(ALPHA / times / 2, difference.degrees))
    return max(prompts + 1, math.ceil(prompts * (asked / seen) ** 2)) if seen > 1e-3 else None


def _bootstrap(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], draws: int, seed: int
) -> NDArray[np.float64]:
    random, number = np.random.RandomState(seed), len(sums)
    step = max(1, 2**20 // number)
    means = []
    for start in range(0, draws, step):
        chosen = random.randint(0, number, (min(step, draws - start), number))
        means.append(sums[chosen].sum(axis=1) / sizes[chosen].sum(axis=1))
    return np.concatenate(means)


def _p_of_tail(tail: float, degrees: int, widening: float) -> float:
    """The level of the interval whose percentile is `tail`: `intervals.clustered_bootstrap` the
    other way round.
    """
    return min(1.0, 2 * float(stats.t.cdf(stats.norm.ppf(min(tail, 0.5)) / widening, degrees)))
