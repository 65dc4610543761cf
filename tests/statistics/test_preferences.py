"""Win rates, tests of pairs and side bias."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from evalkit.statistics import preferences
from evalkit.statistics.votes import BOTH_BAD, CANNOT_TELL, LEFT, RIGHT, TIE, Votes, checked


def drawn(
    random, effect=0.0, prompts=20, raters=4, tie=0.2, side=0.0, prompt_sd=0.1, rater_sd=0.0
) -> Votes:
    """Model 0 against model 1, with a win rate of 0.5 + effect."""
    prompt, rater = np.divmod(np.arange(prompts * raters), raters)
    rate = 0.5 + effect + prompt_sd * random.standard_normal(prompts)[prompt]
    rate = rate + rater_sd * random.standard_normal(raters)[rater]
    first_left = random.rand(len(prompt)) < 0.5
    rate = rate + side * np.where(first_left, 1, -1)
    u = random.rand(len(prompt))
    score = np.where(u < rate - tie / 2, 1, np.where(u < rate + tie / 2, 0, -1))
    left = np.where(first_left, 0, 1)
    return checked(left, 1 - left, np.where(first_left, score, -score), prompt, rater)


def test_win_rates_by_hand():
    votes = checked(
        [0, 1, 0, 0, 2, 0, 0],
        [1, 0, 1, 1, 0, 2, 1],
        [LEFT, LEFT, TIE, BOTH_BAD, RIGHT, LEFT, CANNOT_TELL],
        np.arange(7),
        np.zeros(7),
    )
    found = preferences.win_rates(votes, 4)
    assert found.matrix[0][1].value == (1 + 0 + 0.5 + 0.5) / 4
    assert found.matrix[1][0].value == 0.5
    assert found.matrix[0][2].value == 1.0
    assert found.overall[0].value == (2 + 2) / 6
    assert found.matrix[0][3].value is None
    assert found.overall[3].value is None
    assert found.counts == (4, 1, 1, 1)


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_the_matrix_is_antisymmetric_within_0_and_1(seed):
    random = np.random.RandomState(seed)
    votes = drawn(random, effect=random.uniform(-0.4, 0.4), prompts=8, raters=3)
    matrix = preferences.win_rates(votes, 2).matrix
    one, other = matrix[0][1], matrix[1][0]
    assert one.value == pytest.approx(1 - other.value)
    if one.interval.low is not None:
        assert 0 <= one.interval.low <= one.value <= one.interval.high <= 1
        assert one.interval.low == pytest.approx(1 - other.interval.high)


def test_the_interval_is_that_of_wilson_with_the_width_of_student():
    """Korn and Graubard 1998: the effective number of votes, times (normal / t quantile)^2."""
    rate = preferences.win_rate(drawn(np.random.RandomState(3), 0.2, prompts=12, raters=3), 0, 1)
    ratio = stats.norm.ppf(0.975) / stats.t.ppf(0.975, rate.degrees)
    number = rate.value * (1 - rate.value) / rate.error**2 * ratio**2
    expected = proportion_confint(rate.value * number, number, method="wilson")
    assert rate.interval[:2] == pytest.approx(expected)
    assert (
        preferences.win_rate(
            drawn(np.random.RandomState(3), 0.2, prompts=12, raters=3), 0, 1, level=0.8
        ).interval.low
        > rate.interval.low
    )


@pytest.mark.parametrize("effect", [0.0, 0.35])
@pytest.mark.parametrize("rater_sd", [0.0, 0.1])
def test_intervals_of_win_rates_cover(effect, rater_sd):
    hits = []
    for seed in range(300):
        votes = drawn(
            np.random.RandomState(seed), effect, tie=0.1, prompt_sd=0.03, rater_sd=rater_sd / 3
        )
        low, high, _ = preferences.win_rates(votes, 2).matrix[0][1].interval
        hits.append(low <= 0.5 + effect <= high)
    assert 0.925 <= np.mean(hits) <= 0.99


def test_false_positives_stay_at_five_percent_where_raters_have_tastes():
    """A test over prompts alone finds a difference between equal models in half of the studies."""
    found = [
        preferences.paired_tests(
            drawn(np.random.RandomState(seed), prompts=13, raters=4, rater_sd=0.2), 2
        )[0]
        for seed in range(80)
    ]
    assert np.mean([test.p <= 0.05 for test in found]) <= 0.11
    assert np.mean([test.p_permutation <= 0.05 for test in found]) > 0.15


def test_the_permutation_is_exact_for_few_prompts():
    votes = drawn(np.random.RandomState(0), effect=0.2, prompts=9, raters=3)
    [test] = preferences.paired_tests(votes, 2)
    scores = 0.5 * votes.answer * np.where(votes.left == 0, 1, -1)
    sums = np.bincount(votes.prompts, scores)
    flips = np.array(list(itertools.product([1, -1], repeat=9))) @ sums
    expected = (np.abs(flips) >= abs(sums.sum()) - 1e-9).mean()
    assert test.p_permutation == pytest.approx(expected)
    assert "exact" in test.method


def test_the_permutation_of_many_prompts_is_that_of_scipy():
    votes = drawn(np.random.RandomState(2), effect=0.03, prompts=60, raters=3)
    [test] = preferences.paired_tests(votes, 2)
    scores = 0.5 * votes.answer * np.where(votes.left == 0, 1, -1)
    expected = stats.permutation_test(
        (np.bincount(votes.prompts, scores),),
        lambda values, axis: values.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        rng=np.random.default_rng(1),
    ).pvalue
    assert 0.01 < expected < 0.9
    assert test.p_permutation == pytest.approx(expected, abs=0.02)


@given(st.integers(0, 10**6), st.floats(-0.3, 0.3))
@settings(max_examples=30, deadline=None)
def test_p_is_not_below_the_level_where_the_interval_includes_one_half(seed, effect):
    votes = drawn(np.random.RandomState(seed), effect, prompts=8, raters=3, rater_sd=0.1)
    for test in preferences.paired_tests(votes, 2):
        low, high, _ = test.win_rate.interval
        if low is not None and low <= 0.5 <= high:
            assert test.p >= 0.05 - 1e-9


def test_tests_are_corrected_together_and_unanimous_votes_are_tested():
    prompts = np.tile(np.arange(10), 3)
    left, right = np.repeat([0, 0, 1], 10), np.repeat([1, 2, 2], 10)
    answer = np.concatenate([[LEFT] * 10, [LEFT, RIGHT] * 5, [LEFT] * 10])
    tests = preferences.paired_tests(checked(left, right, answer, prompts, np.zeros(30)), 4)
    assert [(test.first, test.second) for test in tests] == [(0, 1), (0, 2), (1, 2)]
    assert tests[0].p == pytest.approx(2 / 2**10)
    assert tests[0].corrected.p == pytest.approx(3 * 2 / 2**10)
    assert tests[0].win_rate.interval.high == 1
    assert tests[0].win_rate.interval.low == pytest.approx(
        proportion_confint(10, 10, method="wilson")[0]
    )
    assert tests[1].p == 1


def test_what_is_not_tested():
    [ties] = preferences.paired_tests(
        checked([0] * 9, [1] * 9, [TIE] * 9, np.arange(9), np.zeros(9)), 2
    )
    assert (ties.win_rate.value, ties.p, ties.corrected) == (0.5, None, None)
    assert ties.method == "not tested: all ratings are equal"
    [one] = preferences.paired_tests(checked([0] * 9, [1] * 9, [LEFT] * 9, [0] * 9, range(9)), 2)
    assert (one.win_rate.value, one.win_rate.interval.low, one.p) == (1.0, None, None)
    assert preferences.paired_tests(checked([], [], [], [], []), 3) == []


def test_a_side_bias_is_found_and_its_absence_too():
    bias = preferences.side_bias(drawn(np.random.RandomState(1), side=0.2, prompts=40))
    assert bias.p < 0.001
    assert bias.left_share.interval.low > 0.5
    fair = [preferences.side_bias(drawn(np.random.RandomState(k))).p for k in range(100)]
    assert np.mean([p <= 0.05 for p in fair]) <= 0.11
    nothing = preferences.side_bias(checked([0], [1], [TIE], [0], [0]))
    assert (nothing.left_share.value, nothing.p) == (None, None)
