"""Differences between models: known values, coverage and false alarms by small seeded simulations,
and Holm's correction.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from evalkit.metrics import frechet
from evalkit.statistics import intervals
from evalkit.statistics import paired as comparison

PROMPTS, SAMPLES = 40, 2
CLUSTERS = np.repeat(np.arange(PROMPTS), SAMPLES)


def scores(random: np.random.RandomState, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Two models on the same prompts: hard prompts are hard for both, and images of a prompt are
    alike.
    """
    hardness = np.repeat(3 * random.randn(PROMPTS), SAMPLES)
    noise = [
        np.repeat(random.gamma(2.0, size=PROMPTS), SAMPLES) + 0.3 * random.randn(PROMPTS * SAMPLES)
        for _ in range(2)
    ]
    return hardness + noise[0] + shift, hardness + noise[1]


def test_paired_means_cover_and_raise_few_false_alarms():
    random = np.random.RandomState(0)
    found = [comparison.paired_means(*scores(random, 0.4), CLUSTERS, draws=500) for _ in range(250)]
    assert 0.91 <= np.mean([low <= 0.4 <= high for _, low, high, *_ in found]) <= 0.99
    same = [comparison.paired_means(*scores(random, 0.0), CLUSTERS, draws=500) for _ in range(250)]
    assert np.mean([difference.p < 0.05 for difference in same]) <= 0.09


def test_pairing_makes_the_interval_narrower():
    first, second = scores(np.random.RandomState(1), 0.4)
    paired = comparison.paired_means(first, second, CLUSTERS)
    alone = [intervals.clustered_bootstrap(values, CLUSTERS) for values in (first, second)]
    assert paired.high - paired.low < 0.7 * min(high - low for low, high, _ in alone)


def test_p_is_below_a_twentieth_where_the_interval_leaves_zero_out():
    random = np.random.RandomState(2)
    ps, inside = [], []
    for _ in range(150):
        difference = comparison.paired_means(
            *scores(random, random.uniform(-1.5, 1.5)), CLUSTERS, draws=1000
        )
        ps.append(difference.p)
        inside.append(difference.low <= 0 <= difference.high)
        assert (difference.p < 0.049) <= (not inside[-1])
        assert (difference.p > 0.051) <= inside[-1]
    assert min(ps) < 1e-4  # far beyond what the draws can count
    assert 20 < sum(inside) < 130


def test_p_of_the_bootstrap_follows_students_t():
    """For values of a normal distribution the paired t-test is the truth."""
    random = np.random.RandomState(3)
    for shift in (0.0, 0.2, 0.5, 1.0):
        first, second = random.randn(60) + shift, random.randn(60)
        expected = stats.ttest_rel(first, second).pvalue
        found = comparison.paired_means(first, second, np.arange(60), draws=4000).p
        assert found == pytest.approx(expected, rel=0.5, abs=0.03)


@pytest.mark.parametrize(("dimension", "draws"), [(8, 120), (90, 50)])
def test_paired_differences_of_fid_cover(dimension: int, draws: int):
    """More and fewer images than dimensions; two models that share their prompts."""
    random = np.random.RandomState(4)
    mixing = random.randn(dimension, dimension) * (1 + np.arange(dimension)) ** -0.8
    real = frechet.moments(torch.from_numpy(random.randn(600, dimension) @ mixing))
    groups = intervals.groups_of_clusters(CLUSTERS)
    assert groups is not None

    def draw(shift: float) -> tuple[float, float, torch.Tensor, torch.Tensor]:
        prompt = np.repeat(random.randn(PROMPTS, dimension), SAMPLES, axis=0)
        sets = [
            torch.from_numpy(
                (prompt + random.randn(len(CLUSTERS), dimension)) / 2**0.5 @ mixing * (1 + part)
            )
            for part in (shift, 0.0)
        ]
        values = [float(frechet.fid(fake=x, real_moments=real)) for x in sets]
        return *values, *(
            frechet.fid_without(fake=x, real_moments=real, groups=groups) for x in sets
        )

    drawn = [draw(0.1) for _ in range(draws)]
    truth = np.mean([first - second for first, second, *_ in drawn])
    found = [comparison.paired_sets(*one, groups) for one in drawn]
    assert np.mean([low <= truth <= high for _, low, high, *_ in found]) >= 0.87
    same = [comparison.paired_sets(*draw(0.0), groups) for _ in range(draws)]
    assert np.mean([difference.p < 0.05 for difference in same]) <= 0.12
    assert all(
        (difference.p < 0.05) == (not difference.low <= 0 <= difference.high)
        for difference in found + same
    )


def test_equal_values_are_no_difference_and_no_error():
    values = np.random.RandomState(5).randn(80)
    difference = comparison.paired_means(values, values, CLUSTERS)
    assert difference[:4] == (0.0, 0.0, 0.0, 1.0)
    groups = torch.arange(80) % 20
    difference = comparison.paired_sets(1.5, 1.5, torch.ones(20), torch.ones(20), groups)
    assert difference.p == 1.0
    flat = comparison.paired_sets(1.5, 1.0, torch.ones(20), torch.ones(20) / 2 * 1.0, groups)
    assert flat.p is None
    assert "no interval" in flat.method
    assert comparison.paired_means(values[:2], values[2:4], np.zeros(2, dtype=np.int64)).p is None


def test_holm_by_hand():
    assert comparison.holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert comparison.holm([0.5, 0.9]) == [1.0, 1.0]
    assert comparison.holm([]) == []


def test_the_count_that_would_be_needed_is_enough():
    """With four times the prompts the error halves; at the count that is named, p just reaches the
    level.
    """
    difference = comparison.Difference(1.0, -0.5, 2.5, 2 * stats.t.sf(1.0, 19), 19, "")
    count = comparison.needed(difference, 100, difference.p)
    assert count is not None
    at_that_count = 2 * stats.t.sf(1.0 * (count / 100) ** 0.5, 19)
    assert at_that_count == pytest.approx(0.05, rel=0.02)
    stricter = comparison.needed(difference, 100, min(1.0, 3 * difference.p))
    assert stricter is not None
    assert stricter > count
    assert comparison.needed(difference._replace(p=0.001), 100, 0.01) is None
    assert comparison.needed(difference._replace(value=0.0, p=1.0), 100, 1.0) is None
