"""The variance of a property of a set whose second-order part is counted once.

A property of G independent groups is a constant, a mean of one term for each group, a mean of one
term b_ij for each pair of groups, and terms of more groups, all uncorrelated (Hoeffding 1948).
Where a model is as good as the reference, or two models are alike, the terms of single groups
nearly vanish. The jackknife counts the variance of the pairs about twice (Efron and Stein 1981,
"The jackknife estimate of variance", whence the factor below), so its intervals are up to 1.5 times
too wide there. The values without each pair of groups show the b_ij (Hinkley 1978, "Improving the
jackknife with special reference to correlation estimation"), and their second count is taken off.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pairs(count: int) -> Tensor:
    """Every two of `count` groups, int [2, count (count - 1) / 2], first < second."""
    return torch.triu_indices(count, count, 1)


def second_order_variance(without_pairs: Tensor, count: int) -> float:
    """The variance of the mean of the terms of all pairs of groups.

    without_pairs: float64 [count (count - 1) / 2], the values without both groups of each of
    `pairs`; count: of groups of nearly equal size, at least 4. All but b_ij in the value without i
    and j is a sum of a term of i and one of j, so that the residuals of an additive fit of the
    values are those of b_ij, times 2 / ((count - 2) (count - 3)).
    """
    first, second = pairs(count)
    table = torch.zeros(count, count, dtype=torch.float64)
    table[first, second] = table[second, first] = without_pairs - without_pairs.mean()
    effects = table.sum(dim=1) / (count - 2)
    residuals = table[first, second] - effects[first] - effects[second]
    terms = residuals * ((count - 2) * (count - 3) / 2)
    spread = float(terms.square().sum()) / (count * (count - 3) / 2)
    return spread * 2 / (count * (count - 1))


def counted_once(jackknife: float, without_pairs: Tensor, count: int) -> tuple[float, float]:
    """A variance of the jackknife over `count` groups without its second count; and its freedom.

    The expectation of the jackknife is the variance of the first order plus `twice` times that of
    the second, so a variance is at least the jackknife divided by `twice`. The degrees of freedom
    fall with the variance, as the error of the jackknife stays in what is left.
    """
    twice = 2 * (count - 1) / (count - 2)
    once = jackknife - (twice - 1) * second_order_variance(without_pairs, count)
    variance = max(once, jackknife / twice)
    return variance, (count - 1) * variance / jackknife
