"""The second order of the jackknife: closed forms, and differences of two equal models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from evalkit.statistics import intervals, paired, second_order

G = intervals.GROUPS
GROUPS = torch.arange(G)


def squared_mean(x: Tensor, kept: Tensor) -> Tensor:
    """The unbiased estimate of |mean|^2 from the kept rows of x [G, D]; kept: 0 or 1, [K, G]."""
    sums, number = kept @ x, kept.sum(dim=1)
    squares = sums.square().sum(dim=1) - kept @ x.square().sum(dim=1)
    return squares / (number * (number - 1))


def values(x: Tensor) -> tuple[float, Tensor, Tensor]:
    """The estimate, and those without each row and each two rows."""
    without = 1 - torch.eye(G).double()
    one, two = second_order.pairs(G)
    every = squared_mean(x, torch.ones(1, G).double())
    return float(every), squared_mean(x, without), squared_mean(x, without[one] * without[two])


def test_a_sum_of_terms_of_single_groups_has_no_second_order() -> None:
    terms, (one, two) = torch.randn(G).double(), second_order.pairs(G)
    assert second_order.second_order_variance(terms[one] + terms[two] + 3, G) < 1e-20


def test_the_variance_of_the_second_order_is_unbiased() -> None:
    """For x with mean 0 and variance 1 in D dimensions: 2 D / (G (G - 1))."""
    random = torch.Generator().manual_seed(0)
    found = []
    for _ in range(200):
        pairs = values(torch.randn(G, 3, generator=random).double())[2]
        found.append(second_order.second_order_variance(pairs, G))
    assert np.mean(found) == pytest.approx(2 * 3 / (G * (G - 1)), rel=0.05)


@pytest.mark.parametrize("distance", [0.0, 0.5])
def test_the_jackknife_counts_the_second_order_twice_and_is_corrected(distance: float) -> None:
    """The variance of the estimate is 4 distance^2 / G + 2 D / (G (G - 1))."""
    random, plain, once = torch.Generator().manual_seed(1), [], []
    for _ in range(400):
        x = torch.randn(G, 3, generator=random).double()
        x[:, 0] += distance
        _, without, pairs = values(x)
        plain.append((G - 1) / G * float((without - without.mean()).square().sum()))
        once.append(second_order.counted_once(plain[-1], pairs, G)[0])
    first, second = 4 * distance**2 / G, 2 * 3 / (G * (G - 1))
    assert np.mean(plain) == pytest.approx(first + 2 * (G - 1) / (G - 2) * second, rel=0.06)
    assert 0.95 * (first + second) < np.mean(once) < 1.35 * (first + second)


def test_the_degrees_of_freedom_fall_with_the_variance() -> None:
    one, two = second_order.pairs(G)
    assert second_order.counted_once(2.0, one.double() + two, G) == (pytest.approx(2.0), G - 1)
    noise = torch.randn(len(one), generator=torch.Generator().manual_seed(2)).double()
    least = (G - 2) / (2 * (G - 1))  # all of the jackknife is second order
    found = second_order.counted_once(1e-6, noise, G)
    assert found == (pytest.approx(1e-6 * least), pytest.approx((G - 1) * least))


def difference(seed: int, with_pairs: bool) -> paired.Difference:
    """Of two equal models on the same 20 prompts."""
    random = torch.Generator().manual_seed(seed)
    prompt = torch.randn(G, 8, generator=random).double()
    one, two = (
        values(0.6 * prompt + 0.8 * torch.randn(G, 8, generator=random).double()) for _ in range(2)
    )
    pairs = (one[2], two[2]) if with_pairs else (None, None)
    return paired.paired_sets(one[0], two[0], one[1], two[1], GROUPS, pairs)


def test_intervals_of_differences_of_equal_models_have_the_width_of_their_spread() -> None:
    found = [difference(seed, with_pairs=True) for seed in range(400)]
    ends = np.array([one.interval() for one in found])
    width = (ends[:, 1] - ends[:, 0]).mean() / (3.92 * np.std([one.value for one in found]))
    covered = ((ends[:, 0] <= 0) & (ends[:, 1] >= 0)).mean()
    assert 0.94 <= covered <= 0.985  # the plain jackknife: 0.993
    assert 1.0 <= width <= 1.25  # the plain jackknife: 1.5
    agree = (ends[:, 0] > 0) | (ends[:, 1] < 0)
    assert agree.tolist() == [one.p <= 0.05 for one in found]


def test_pairs_count_where_both_models_have_them_for_all_groups() -> None:
    plain, better = difference(3, with_pairs=False), difference(3, with_pairs=True)
    assert better.error < plain.error
    assert better.method == f"{plain.method}, second order counted once"
    one, two = torch.randn(2, G).double()
    known, (first, _) = torch.zeros(190).double(), second_order.pairs(G)
    without = paired.paired_sets(2.0, 1.0, one, two, GROUPS)
    for pairs in ((known, None), (None, known), (known, known + torch.nan)):
        assert paired.paired_sets(2.0, 1.0, one, two, GROUPS, pairs) == without
    few = first[:45].double(), known[:45]
    found = paired.paired_sets(2.0, 1.0, one[:10], two[:10], torch.arange(10), few)
    assert found == paired.paired_sets(2.0, 1.0, one[:10], two[:10], torch.arange(10))
