"""Intervals (95% by default), each with the method behind it.

Images of one prompt are not independent, so prompts are resampled, not images.

- `clustered_bootstrap` for means of per-image values: whole prompts are drawn with replacement;
  percentiles, widened for few prompts (Hesterberg 2015, section 5.3, "expanded percentile
  interval").
- `wilson` for rates, with the effective sample size (Kish design effect) if images share prompts.
- `group_jackknife` for properties of a set (FID, KID, inception score, recall). The percentile
  bootstrap is wrong for them: images that are drawn twice reduce the diversity, all draws lie above
  the estimate, and the interval excludes the estimate itself. Leaving out a group of prompts
  changes the number of images by a few percent only, so the small-sample bias shifts all values
  alike and cancels in their spread. The weights are those for groups of unequal size (Busing et al.
  1999), the quantile is that of Student's t with G - 1 degrees of freedom.

An interval of a property of a set refers to *this number of images* and this reference; it does not
include the small-sample bias.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

GROUPS = 20
LEAST_GROUPS = 5
DRAWS = 2000
_AT_ONCE = 2**16  # clusters that are drawn at once: all draws of a small set


class Interval(NamedTuple):
    low: float | None  # None: no interval, and `method` gives the reason
    high: float | None
    method: str


def cluster_numbers(labels: Iterable[Hashable]) -> NDArray[np.int64]:
    """Labels (such as the prompt of each image) as numbers 0 .. C - 1, int64 [N].

    In order of first appearance.
    """
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(label, len(seen)) for label in labels], dtype=np.int64)


def groups_of_clusters(
    clusters: NDArray[np.int64], count: int = GROUPS, seed: int = 0
) -> Tensor | None:
    """Whole clusters in at most `count` groups of nearly equal size, int64 [N].

    None if there are fewer than 5 clusters.
    """
    sizes = np.bincount(clusters)
    if len(sizes) < LEAST_GROUPS:
        return None
    # The largest cluster first, each to the group that is the smallest so far.
    order = np.random.RandomState(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    group = np.zeros(len(sizes), dtype=np.int64)
    filled = np.zeros(min(count, len(sizes)), dtype=np.int64)
    for cluster in order:
        group[cluster] = filled.argmin()
        filled[group[cluster]] += sizes[cluster]
    return torch.from_numpy(group[clusters])


def wilson(successes: float, count: float, level: float = 0.95, method: str = "Wilson") -> Interval:
    """Wilson's score interval of a rate, both ends in [0, 1]; Wilson 1927.

    `count` may be an effective sample size.
    """
    if count <= 0:
        return Interval(None, None, "no interval: the count is 0")
    z, rate = float(stats.norm.ppf((1 + level) / 2)), successes / count
    centre, scale = (rate + z * z / (2 * count)), 1 + z * z / count
    half = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    # The ends 0 and 1 are exact: rounding would give 1e-18.
    low = (centre - half) / scale if successes > 0 else 0.0
    high = (centre + half) / scale if successes < count else 1.0
    return Interval(max(0.0, low), min(1.0, high), method)


def rate(hits: NDArray[np.float64], clusters: NDArray[np.int64], level: float = 0.95) -> Interval:
    """Wilson's interval of the mean of 0/1 values [N].

    The count is divided by the design effect of the clusters [N].
    """
    count, number, effect = len(hits), int(clusters.max()) + 1, _design_effect(hits, clusters)
    method = f"Wilson, {number} prompts (design effect {effect:.2f})"
    if number == count:
        return wilson(hits.sum(), count, level)
    return wilson(hits.sum() / effect, count / effect, level, method)


def rate_p(hits: NDArray[np.float64], clusters: NDArray[np.int64], chance: float) -> float:
    """The two-sided p-value of "the mean is `chance`", by the score test.

    It is 1 - level of the interval of `rate` that just reaches `chance`.
    """
    count = len(hits) / _design_effect(hits, clusters)
    error = math.sqrt(chance * (1 - chance) / count)
    return 2 * float(stats.norm.sf(abs(float(hits.mean()) - chance) / error))


def _design_effect(hits: NDArray[np.float64], clusters: NDArray[np.int64]) -> float:
    """The variance of the mean over that of independent values; 1 for one value per cluster."""
    count, mean, sizes = len(hits), float(hits.mean()), np.bincount(clusters)
    if sizes.max() == 1:
        return 1.0
    residuals = np.bincount(clusters, hits - mean)
    number = len(sizes)
    independent = mean * (1 - mean) / count
    clustered = number / max(1, number - 1) * float((residuals**2).sum()) / count**2
    return max(1.0, clustered / independent) if independent > 0 else float(sizes.mean())


def clustered_bootstrap(
    values: NDArray[np.float64],
    clusters: NDArray[np.int64],
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Interval of the mean of values [N], by expanded percentiles.

    Whole clusters [N] are drawn with replacement. There is none where fewer than 5 of them all have
    one value: no spread of so few is no certainty.
    """
    sums, sizes = np.bincount(clusters, values), np.bincount(clusters).astype(np.float64)
    number = len(sizes)
    if number < 2:
        return Interval(None, None, "no interval: one prompt only")
    if number < LEAST_GROUPS and np.ptp(values) == 0:  # equal by chance, for all that is known
        return Interval(None, None, f"no interval: fewer than {LEAST_GROUPS} prompts, all equal")
    random, means = np.random.RandomState(seed), np.empty(draws)
    step = max(1, _AT_ONCE // number)
    for start in range(0, draws, step):
        chosen = random.randint(0, number, (min(step, draws - start), number))
        means[start : start + step] = sums[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)
    quantile = stats.t.ppf((1 - level) / 2, number - 1)
    tail = stats.norm.cdf(quantile * math.sqrt(number / (number - 1)))
    low, high = np.quantile(means, [tail, 1 - tail])
    method = f"bootstrap over {number} prompts, {draws} draws, expanded percentiles"
    return Interval(float(low), float(high), method)


def group_jackknife(
    estimate: float, left_out: Tensor, groups: Tensor, level: float = 0.95
) -> Interval:
    """Interval of a property of a set from its values without each group, float64 [G].

    groups int [N], 0 .. G - 1. No interval if all values are equal (such as a recall of 0): the
    estimate is not certain for that reason.
    """
    sizes = torch.bincount(groups).double()
    share = sizes.sum() / sizes
    pseudo = share * estimate - (share - 1) * left_out.double()
    variance = float(((pseudo - pseudo.mean()).square() / (share - 1)).mean())
    number = len(sizes)
    if not variance > 1e-24 * max(1.0, estimate * estimate):
        reason = "no interval: the value is the same without any group of prompts"
        return Interval(None, None, reason)
    half = float(stats.t.ppf((1 + level) / 2, number - 1)) * math.sqrt(variance)
    method = f"jackknife over {number} groups of prompts, Student t"
    return Interval(estimate - half, estimate + half, method)


def group_jackknife_covariance(
    estimates: tuple[float, float], left_out: tuple[Tensor, Tensor], groups: Tensor
) -> tuple[float, float, float]:
    """Variances of two properties of one set, and their covariance.

    left_out: each float64 [G], the values without each group, the same groups for both. groups int
    [N], 0 .. G - 1. Of a property with itself it is the variance of `group_jackknife`.
    """
    sizes = torch.bincount(groups).double()
    share = sizes.sum() / sizes
    one, other = (
        share * estimate - (share - 1) * values.double()
        for estimate, values in zip(estimates, left_out, strict=True)
    )
    one, other = one - one.mean(), other - other.mean()

    def mean(products: Tensor) -> float:
        return float((products / (share - 1)).mean())

    return mean(one * one), mean(other * other), mean(one * other)
