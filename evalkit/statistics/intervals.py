"""Intervals (95% unless told) and how each was found. Images of one prompt are not independent, so
prompts are what is resampled.

- `clustered_bootstrap` for means of per-image values: whole prompts are drawn with replacement;
  percentiles, widened for few prompts (Hesterberg 2015, section 5.3, "expanded percentile
  interval").
- `wilson` for rates, with the count that the prompts are worth (Kish design effect) where images
  share prompts.
- `group_jackknife` for figures of a set (FID, KID, inception score, recall). The percentile
  bootstrap is wrong for them: images drawn twice look like lost variety, all draws lie above the
  estimate, and the interval excludes the estimate itself. Leaving a group of prompts out changes
  the count by a few percent only, so the bias moves all values alike and cancels in their spread;
  the weights are those for groups of unequal size (Busing et al. 1999), the quantile is Student's t
  with G - 1 degrees.

An interval of a set's figure is about the figure *at this count*, given the reference; small-sample
bias is no part of it.
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

GROUPS = 20
LEAST_GROUPS = 5
DRAWS = 2000


class Interval(NamedTuple):
    low: float | None  # None: no interval can be given, and `method` says why
    high: float | None
    method: str


def cluster_numbers(labels: Sequence[str]) -> NDArray[np.int64]:
    """Labels (say, the prompt of every image) as cluster numbers 0 .. C - 1 in order of first
    appearance, int64 [N].
    """
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(label, len(seen)) for label in labels], dtype=np.int64)


def groups_of_clusters(
    clusters: NDArray[np.int64], count: int = GROUPS, seed: int = 0
) -> Tensor | None:
    """Deal whole clusters out to at most `count` groups of near equal size, int64 [N]; None where
    there are fewer than 5 clusters.
    """
    sizes = np.bincount(clusters)
    if len(sizes) < LEAST_GROUPS:
        return None
    order = np.random.RandomState(seed).permutation(len(sizes))
    order = order[
        np.argsort(-sizes[order], kind="stable")
    ]  # the largest first, each to the group that is smallest so far
    group, filled = (
        np.zeros(len(sizes), dtype=np.int64),
        np.zeros(min(count, len(sizes)), dtype=np.int64),
    )
    for cluster in order:
        group[cluster] = filled.argmin()
        filled[group[cluster]] += sizes[cluster]
    return torch.from_numpy(group[clusters])


def wilson(successes: float, count: float, level: float = 0.95, method: str = "Wilson") -> Interval:
    """Wilson's score interval of a rate, both ends in [0, 1]; Wilson 1927. `count` may be an
    effective one.
    """
    if count <= 0:
        return Interval(None, None, "no interval: nothing was counted")
    z, rate = float(stats.norm.ppf((1 + level) / 2)), successes / count
    centre, scale = (rate + z * z / (2 * count)), 1 + z * z / count
    half = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    low = (
        (centre - half) / scale if successes > 0 else 0.0
    )  # exact ends where rounding would leave 1e-18
    high = (centre + half) / scale if successes < count else 1.0
    return Interval(max(0.0, low), min(1.0, high), method)


def rate(hits: NDArray[np.float64], clusters: NDArray[np.int64], level: float = 0.95) -> Interval:
    """Wilson's interval of the mean of 0/1 values [N]; the count is divided by the design effect of
    the clusters [N].
    """
    count, mean = len(hits), float(hits.mean())
    sizes = np.bincount(clusters)
    if sizes.max() == 1:
        return wilson(hits.sum(), count, level)
    residuals = np.bincount(clusters, hits - mean)
    number = len(sizes)
    independent = mean * (1 - mean) / count
    clustered = number / max(1, number - 1) * float((residuals**2).sum()) / count**2
    effect = max(1.0, clustered / independent) if independent > 0 else float(sizes.mean())
    return wilson(
        mean * count / effect,
        count / effect,
        level,
        f"Wilson, {number} prompts (design effect {effect:.2f})",
    )


def clustered_bootstrap(
    values: NDArray[np.float64],
    clusters: NDArray[np.int64],
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Interval of the mean of values [N]: whole clusters [N] are drawn with replacement, seeded;
    expanded percentiles.
    """
    sums, sizes = np.bincount(clusters, values), np.bincount(clusters).astype(np.float64)
    number = len(sizes)
    if number < 2:
        return Interval(None, None, "no interval: one prompt only")
    random = np.random.RandomState(seed)
    means = np.empty(draws)
    for draw in range(draws):
        chosen = random.randint(0, number, number)
        means[draw] = sums[chosen].sum() / sizes[chosen].sum()
    tail = stats.norm.cdf(
        stats.t.ppf((1 - level) / 2, number - 1) * math.sqrt(number / (number - 1))
    )
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(
        float(low),
        float(high),
        f"bootstrap over {number} prompts, {draws} draws, expanded percentiles",
    )


def group_jackknife(
    estimate: float, left_out: Tensor, groups: Tensor, level: float = 0.95
) -> Interval:
    """Interval of a set's figure from its values with each group left out, float64 [G]; groups int
    [N].

    None where all values are equal (a recall of 0, say): that is no proof of certainty.
    """
    sizes = torch.bincount(groups).double()
    share = sizes.sum() / sizes
    pseudo = share * estimate - (share - 1) * left_out.double()
    variance = float(((pseudo - pseudo.mean()).square() / (share - 1)).mean())
    number = len(sizes)
    if not variance > 1e-24 * max(1.0, estimate * estimate):
        return Interval(
            None, None, "no interval: the figure is the same without any group of prompts"
        )
    half = float(stats.t.ppf((1 + level) / 2, number - 1)) * math.sqrt(variance)
    return Interval(
        estimate - half, estimate + half, f"jackknife over {number} groups of prompts, Student t"
    )
