"""Paired differences: known values, coverage and false positives by seeded simulation."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evalkit.metrics import frechet
from evalkit.statistics import intervals, paired
from evalkit.statistics.multiple import ALPHA, holm

PROMPTS, SAMPLES = 40, 2
CLUSTERS = np.repeat(np.arange(PROMPTS), SAMPLES)


def scores(random: np.random.RandomState, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Two models on the same prompts, with effects of the prompt on both and on its images."""
    hardness = np.repeat(3 * random.randn(PROMPTS), SAMPLES)
    noise = [
        np.repeat(random.gamma(2.0, size=PROMPTS), SAMPLES) + 0.3 * random.randn(PROMPTS * SAMPLES)
        for _ in range(2)
    ]
    return hardness + noise[0] + shift, hardness + noise[1]


def test_paired_means_cover_with_few_false_positives():
    random = np.random.RandomState(0)
    found = [paired.paired_means(*scores(random, 0.4), CLUSTERS, draws=500) for _ in range(250)]
    intervals_found = [difference.interval() for difference in found]
    assert 0.91 <= np.mean([low <= 0.4 <= high for low, high in intervals_found]) <= 0.99
    same = [paired.paired_means(*scores(random, 0.0), CLUSTERS, draws=500) for _ in range(250)]
    assert np.mean([difference.p < 0.05 for difference in same]) <= 0.09


def test_pairing_makes_the_interval_narrower():
    first, second = scores(np.random.RandomState(1), 0.4)
    low, high = paired.paired_means(first, second, CLUSTERS).interval()
    alone = [intervals.clustered_bootstrap(values, CLUSTERS) for values in (first, second)]
    assert high - low < 0.7 * min(end - start for start, end, _ in alone)


@given(
    prompts=st.integers(5, 30),
    shift=st.floats(-2, 2),
    skew=st.booleans(),
    seed=st.integers(0, 2**31),
    alpha=st.floats(1e-4, 0.5),
)
def test_interval_and_p_value_always_agree(prompts, shift, skew, seed, alpha):
    random = np.random.RandomState(seed)
    noise = random.gamma(0.5, size=prompts) if skew else random.randn(prompts)
    difference = paired.paired_means(
        noise + shift, np.zeros(prompts), np.arange(prompts), draws=400
    )
    low, high = difference.interval(alpha)
    assert (low > 0 or high < 0) == (difference.p <= alpha)


def test_p_resolves_far_below_the_number_of_draws():
    random = np.random.RandomState(2)
    found = [paired.paired_means(*scores(random, 1.5), CLUSTERS, draws=1000).p for _ in range(20)]
    assert min(found) < 1e-4


def test_p_beyond_the_draws_is_that_of_student_with_the_error_of_the_draws():
    values = np.random.RandomState(6).randn(60) + 0.7
    found = paired.paired_means(values, np.zeros(60), np.arange(60))
    assert found.degrees == 59
    assert found.draws.std(ddof=1) == pytest.approx(found.error)
    assert found.p == pytest.approx(2 * stats.t.sf(found.value / found.error, 59))
    low, high = found.interval(1e-6)
    half = stats.t.isf(0.5e-6, 59) * found.error
    assert (low, high) == pytest.approx((found.value - half, found.value + half))


def test_equal_rates_have_the_interval_of_a_rate():
    """Twenty prompts of which none differs: the share that does may be up to 16%, by Wilson."""
    right = np.tile([1.0, 1.0, 0.0, 1.0], 5)
    found = paired.paired_means(right, right, np.arange(20), rates=True)
    assert (found.value, found.p) == (0.0, 1.0)
    assert found.interval() == pytest.approx((-0.1611, 0.1611), abs=1e-4)
    assert found.interval(0.01)[1] > 0.1611
    assert paired.paired_means(right, right, np.arange(20)).interval() == (0.0, 0.0)
    assert paired.paired_means(right / 2, right / 2, np.arange(20), rates=True).interval()[1] == 0


@pytest.mark.parametrize("prompts", [5, 6, 7, 9, 12])
def test_p_of_few_prompts_is_never_below_that_of_all_flips_of_signs(prompts: int):
    """The observed signs and their opposite are two of the 2^n flips."""
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=prompts)))
    for seed in range(20):
        values = 1 + 0.01 * np.random.RandomState(seed).randn(prompts)
        found = paired.paired_means(values, np.zeros(prompts), np.arange(prompts), draws=200)
        flipped = np.abs(signs @ values) >= abs(values.sum()) - 1e-9
        assert found.p == pytest.approx(flipped.mean())
        assert (found.p <= ALPHA) == (prompts > 5)
        low, high = found.interval(found.p / 2)
        assert low <= 0 < high
        assert found.interval(found.p)[0] > 0


def test_draws_of_exactly_zero_count_on_both_sides():
    """Gains and losses of one: more than half of the draws are at most, and at least, zero."""
    found = paired.paired_means(np.tile([1.0, 0.0], 4), np.tile([0.0, 1.0], 4), np.arange(8))
    assert (found.value, found.p) == (0.0, 1.0)


def test_p_of_the_bootstrap_follows_students_t():
    """For normally distributed values the paired t-test is exact."""
    random = np.random.RandomState(3)
    for shift in (0.0, 0.2, 0.5, 1.0):
        first, second = random.randn(60) + shift, random.randn(60)
        expected = stats.ttest_rel(first, second).pvalue
        found = paired.paired_means(first, second, np.arange(60), draws=4000).p
        assert found == pytest.approx(expected, rel=0.5, abs=0.03)


@pytest.mark.parametrize(("dimension", "draws"), [(8, 120), (90, 50)])
def test_paired_differences_of_fid_cover(dimension: int, draws: int):
    """With more and with fewer images than dimensions, for two models on the same prompts."""
    random = np.random.RandomState(4)
    mixing = random.randn(dimension, dimension) * (1 + np.arange(dimension)) ** -0.8
    real = frechet.moments(torch.from_numpy(random.randn(600, dimension) @ mixing))
    groups = intervals.groups_of_clusters(CLUSTERS)
    assert groups is not None

    def draw(shift: float) -> tuple[float, float, torch.Tensor, torch.Tensor]:
        prompt = np.repeat(random.randn(PROMPTS, dimension), SAMPLES, axis=0)
        values, left_out = [], []
        for part in (shift, 0.0):
            noise = random.randn(len(CLUSTERS), dimension)
            fake = torch.from_numpy((prompt + noise) / 2**0.5 @ mixing * (1 + part))
            values.append(float(frechet.fid(fake=fake, real_moments=real)))
            left_out.append(frechet.fid_without(fake=fake, real_moments=real, groups=groups))
        return *values, *left_out

    drawn = [draw(0.1) for _ in range(draws)]
    truth = np.mean([first - second for first, second, *_ in drawn])
    found = [paired.paired_sets(*one, groups) for one in drawn]
    intervals_found = [difference.interval() for difference in found]
    assert np.mean([low <= truth <= high for low, high in intervals_found]) >= 0.87
    same = [paired.paired_sets(*draw(0.0), groups) for _ in range(draws)]
    assert np.mean([difference.p < 0.05 for difference in same]) <= 0.12
    for difference in found + same:
        low, high = difference.interval()
        assert (difference.p <= ALPHA) == (not low <= 0 <= high)


def test_a_difference_of_sets_is_tested_by_the_jackknife_over_groups():
    """Five groups of equal size: the variance is 4 / 5 of the sum of squares about the mean."""
    first, second = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.5]), torch.tensor([0.5, 0.0, 1.0, 0.0, 0.5])
    found = paired.paired_sets(3.1, 0.4, first, second, torch.arange(20) % 5)
    changes = (first - second).double().numpy()
    error = (4 / 5 * ((changes - changes.mean()) ** 2).sum()) ** 0.5
    assert (found.value, found.degrees) == (pytest.approx(2.7), 4)
    assert found.p == pytest.approx(2 * stats.t.sf(2.7 / error, 4))
    half = stats.t.isf(0.05, 4) * error
    assert found.interval(0.1) == pytest.approx((2.7 - half, 2.7 + half))


def test_equal_values_have_no_difference():
    values = np.random.RandomState(5).randn(80)
    difference = paired.paired_means(values, values, CLUSTERS)
    assert (difference.value, difference.p, difference.degrees) == (0.0, 1.0, PROMPTS - 1)
    assert difference.interval() == (0.0, 0.0)
    groups = torch.arange(80) % 20
    difference = paired.paired_sets(1.5, 1.5, torch.ones(20), torch.ones(20), groups)
    assert difference.p == 1.0
    flat = paired.paired_sets(1.5, 1.0, torch.ones(20), torch.ones(20) / 2 * 1.0, groups)
    assert flat.p is None
    assert "no interval" in flat.method
    assert paired.paired_means(values[:2], values[2:4], np.zeros(2, dtype=np.int64)).p is None


def test_additional_prompts_give_significance():
    """Four times the prompts halve the error; with the stated number, four of five are found."""
    difference = paired.Difference(1.0, 2 * stats.t.sf(1.0, 19), 19, "", error=1.0)

    def more(**changes) -> int | None:
        changed = dataclasses.replace(difference, **changes)
        return paired.additional_prompts(changed, 100, holm([changed.p])[0])

    alone = more()
    assert alone is not None
    beyond = stats.norm.ppf(0.8)  # of the differences between repetitions, in standard errors

    def least(prompts: int) -> float:
        """The p-value of the smallest of four in five differences with so many more prompts."""
        return 2 * float(stats.t.sf((1 + prompts / 100) ** 0.5 - beyond, 19))

    assert least(alone) == pytest.approx(ALPHA, rel=0.02)
    in_a_family = paired.additional_prompts(difference, 100, holm([difference.p, *[0.9] * 4])[0])
    assert in_a_family is not None
    assert in_a_family > alone
    assert least(in_a_family) == pytest.approx(ALPHA / 5, rel=0.02)  # as of the smallest of five
    assert 95 < (more(p=0.0501) or 0) < 105  # half of the repetitions are significant already
    assert more(p=0.001) is None
    assert more(value=0.0, p=1.0) is None
    assert more(p=None) is None


def test_the_smallest_countable_p_agrees_with_the_interval():
    """Exactly as many draws beyond zero as the bootstrap can resolve."""
    for seed in range(400):
        random = np.random.RandomState(seed)
        values = random.gamma(0.7, size=6) - 0.25
        difference = paired.paired_means(values, np.zeros(6), np.arange(6), draws=200)
        for alpha in (0.03, 0.05, 0.08, 0.1, 0.15):
            low, high = difference.interval(alpha)
            assert (low > 0 or high < 0) == (difference.p <= alpha), (seed, alpha)


def test_few_prompts_and_equal_differences_are_not_tested():
    """Two prompts with the same difference are no proof, whatever the bootstrap says."""
    few = paired.paired_means(np.array([0.31, 0.42]), np.array([0.21, 0.32]), np.arange(2))
    assert (few.p, few.interval()) == (None, (None, None))
    assert "fewer than 5 prompts" in few.method
    equal = paired.paired_means(np.ones(4), np.ones(4), np.arange(4))
    assert (equal.p, equal.interval(), equal.method) == (None, (None, None), few.method)
    same = paired.paired_means(np.arange(8) + 1.0, np.arange(8.0), np.arange(8))
    assert (same.value, same.p) == (1.0, None)
    assert "the same for every prompt" in same.method
    cancelled = paired.paired_means(np.tile([1.0, 2.0], 8), np.full(16, 1.5), np.arange(16) // 2)
    assert (cancelled.value, cancelled.p) == (0.0, None)
