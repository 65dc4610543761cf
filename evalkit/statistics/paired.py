"""Paired differences of two models on the same prompts, with intervals and p-values.

- `paired_means` for means of per-image values: whole prompts are resampled and the mean difference
  is taken each time (the clustered bootstrap of `intervals`, applied to the difference).
- `paired_sets` for properties of a set (FID, KID, recall): the same groups of prompts are left out
  of both models, and the group jackknife is applied to the difference. A percentile bootstrap would
  be wrong for these: see `intervals`. Where the values without pairs of groups are known, the
  jackknife does not count the second order twice: see `second_order`.

p-values are two-sided. A p-value is the level at which `Difference.interval` just reaches zero, so
an interval and its p-value always agree. That of values per image is never below 2 / 2^n of n
prompts, the least of a test that flips their signs: without an assumption on the distribution, n
prompts say no more. So five prompts are never significant at 5%.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from evalkit.statistics.intervals import DRAWS, GROUPS, LEAST_GROUPS, group_jackknife, wilson
from evalkit.statistics.multiple import ALPHA, Corrected
from evalkit.statistics.second_order import counted_once

POWER = 0.8  # the probability with which the estimated number of prompts is enough
_LEAST_DRAWS = 10  # beyond zero; with fewer, the bootstrap cannot resolve the p-value


@dataclass(frozen=True)
class Difference:
    """The first model's value minus the second's."""

    value: float
    p: float | None  # two-sided, not corrected; None: not tested, and `method` gives the reason
    degrees: float  # of freedom of Student's t
    method: str
    error: float = 0.0  # standard error
    draws: NDArray[np.float64] | None = None  # sorted bootstrap differences; None: Student's t only
    equal: int = (
        0  # prompts of which all values are the same 0 or 1: the interval is that of a rate
    )
    least: float = 0.0  # the smallest possible p: at levels below it, the interval includes zero

    def interval(self, alpha: float = ALPHA) -> tuple[float, float] | tuple[None, None]:
        """The interval at level 1 - alpha; it excludes zero exactly where p <= alpha."""
        if self.p is None:
            return None, None
        low, high = self._interval(alpha)
        return (min(low, 0.0), max(high, 0.0)) if alpha < self.least else (low, high)

    def _interval(self, alpha: float) -> tuple[float, float]:
        if self.equal:  # Wilson's bound of the share of prompts that differ
            share = wilson(0, self.equal, 1 - alpha).high or 0.0
            return -share, share
        half = float(stats.t.isf(alpha / 2, self.degrees)) * self.error
        if self.draws is None:
            return self.value - half, self.value + half
        tail, reach = _tail(alpha, self.degrees), _LEAST_DRAWS / len(self.draws)
        share = max(tail, reach)
        low, high = (float(end) for end in np.quantile(self.draws, [share, 1 - share]))
        # p counts draws. If interpolation between two draws crosses zero, the draw is the end.
        place = math.floor(share * len(self.draws) + 1e-9)
        low = low if low * self.draws[place] > 0 else float(self.draws[place])
        high = high if high * self.draws[-1 - place] > 0 else float(self.draws[-1 - place])
        if tail >= reach:
            return low, high
        return min(low, self.value - half), max(high, self.value + half)


def paired_means(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    clusters: NDArray[np.int64],
    draws: int = DRAWS,
    seed: int = 0,
    *,
    rates: bool = False,
) -> Difference:
    """Difference of the means of paired values [N] and [N].

    rates: values of 0 and 1 are outcomes of chance. Where all are equal, the interval is not of
    width 0 but Wilson's; for two measurements of the same images it is False.

    clusters int [N]: the prompt of each pair, 0 .. C - 1. Fewer than 5 prompts are not tested, also
    where all values are equal. Percentiles are expanded for few prompts. Below the resolution of
    the draws, p is that of Student's t with the bootstrap standard error.
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    value, sizes = float(differences.mean()), np.bincount(clusters).astype(np.float64)
    number = len(sizes)
    if number < LEAST_GROUPS:
        reason = f"no interval: fewer than {LEAST_GROUPS} prompts"
        return Difference(value, None, max(1, number - 1), reason)
    if not differences.any():
        method = "the values of all images are equal"
        if rates and np.isin(first, (0.0, 1.0)).all():
            method += f"; Wilson, {number} prompts"
            return Difference(0.0, 1.0, number - 1, method, equal=number)
        return Difference(0.0, 1.0, number - 1, method)
    sums = np.bincount(clusters, differences).astype(np.float64)
    means = _bootstrap(sums, sizes, draws, seed)
    degrees = number - 1
    beyond = int(min((means <= 0).sum(), (means >= 0).sum()))
    reached = _p_of_tail(max(beyond, _LEAST_DRAWS) / draws, degrees)
    error = float(means.std(ddof=1))
    if error <= 1e-12 * abs(value):  # that all prompts agree is no proof of certainty
        reason = "no interval: the difference is the same for every prompt"
        return Difference(value, None, degrees, reason)
    smooth = 2 * float(stats.t.sf(abs(value) / error, degrees))
    least = 2.0 ** (1 - number)
    p = max(reached if beyond > _LEAST_DRAWS else min(reached, smooth), least)
    method = f"paired bootstrap over {number} prompts, {draws} draws"
    return Difference(value, p, degrees, method, error, np.sort(means), least=least)


def paired_sets(
    first: float,
    second: float,
    first_without: Tensor,
    second_without: Tensor,
    groups: Tensor,
    without_pairs: tuple[Tensor | None, Tensor | None] = (None, None),
) -> Difference:
    """Difference of two properties of sets, from their values without each group of prompts.

    first_without, second_without float64 [G]; groups int [N], the group of each image, the same
    for both models. without_pairs: those of both models without each two groups, float64
    [G (G - 1) / 2]. They count where both are known and finite and all `GROUPS` groups exist: with
    fewer, the gain would be lost to the freedom of Student's t.
    """
    value, left_out = first - second, first_without.double() - second_without.double()
    degrees = max(1, len(left_out) - 1)
    if value == 0 and not bool(left_out.any()):
        return Difference(0.0, 1.0, degrees, "the values are equal, with and without every group")
    if not bool(torch.isfinite(left_out).all()):
        method = "no interval: not defined without one of the groups of prompts"
        return Difference(value, None, degrees, method)
    found = group_jackknife(value, left_out, groups)
    if found.low is None or found.high is None:
        return Difference(value, None, degrees, found.method)
    error = (found.high - found.low) / 2 / float(stats.t.ppf(1 - ALPHA / 2, degrees))
    method, one, other = f"paired {found.method}", *without_pairs
    if one is not None and other is not None and len(left_out) == GROUPS:
        both = one.double() - other.double()
        if bool(torch.isfinite(both).all()):
            variance, degrees = counted_once(error**2, both, GROUPS)
            error, method = math.sqrt(variance), f"{method}, second order counted once"
    p = 2 * float(stats.t.sf(abs(value) / error, degrees))
    return Difference(value, p, degrees, method, error)


def additional_prompts(
    difference: Difference, prompts: int, corrected: Corrected | None
) -> int | None:
    """Additional prompts with which a true difference of this size is significant with `POWER`.

    Just as many as bring this p-value to the limit would be enough in every second repetition only.
    The standard error is proportional to 1 / sqrt(prompts); the correction for multiple comparisons
    stays the same. None if the difference is significant, not tested or zero.
    """
    p = difference.p
    if p is None or corrected is None or corrected.p <= ALPHA or difference.value == 0:
        return None
    found = float(stats.t.isf(min(p, 1 - 1e-12) / 2, difference.degrees))
    wanted = float(stats.t.isf(corrected.level / 2, difference.degrees) + stats.norm.ppf(POWER))
    return max(1, math.ceil(prompts * (wanted / found) ** 2) - prompts) if found > 1e-3 else None


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


def _widening(degrees: float) -> float:
    """Percentiles are expanded by this factor (Hesterberg 2015, section 5.3)."""
    return math.sqrt((degrees + 1) / degrees)


def _tail(alpha: float, degrees: float) -> float:
    """The share of draws beyond each end of the interval at level 1 - alpha."""
    return float(stats.norm.cdf(stats.t.ppf(alpha / 2, degrees) * _widening(degrees)))


def _p_of_tail(tail: float, degrees: float) -> float:
    """The alpha whose interval has this share of draws beyond each end: the inverse of `_tail`."""
    quantile = stats.norm.ppf(min(tail, 0.5)) / _widening(degrees)
    return min(1.0, 2 * float(stats.t.cdf(quantile, degrees)))
