"""Metrics against people: known values, scipy, coverage, and what is not measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evalkit.statistics import concordance


def drawn(random, prompts: int = 40, noise: float = 1.5) -> tuple[np.ndarray, ...]:
    """Three pairs of images of each prompt; the votes of a prompt are alike."""
    prompt = np.repeat(np.arange(prompts), 3)
    truth = random.standard_normal(len(prompt)) + random.standard_normal(prompts)[prompt]
    human = np.round(truth + noise * random.standard_normal(len(prompt)))
    return truth, human, prompt


def test_accuracy_by_hand():
    found = concordance.of_images(
        [1.0, -2.0, 0.0, 3.0, 1.0, -1.0], [0.5, -0.1, 0.5, -0.5, 0.0, 0.0], np.arange(6)
    )
    assert found.accuracy.value == (1 + 1 + 0.5 + 0) / 4
    assert (found.decided, found.undecided, found.metric_ties) == (4, 2, 1)


def test_correlations_are_those_of_scipy_on_pairs_and_mirror_images():
    metric, human, prompt = drawn(np.random.RandomState(0))
    found = concordance.of_images(metric, human, prompt)
    both = np.concatenate([metric, -metric]), np.concatenate([human, -human])
    assert found.kendall.value == pytest.approx(stats.kendalltau(*both).statistic)
    assert found.spearman.value == pytest.approx(stats.spearmanr(*both).statistic)


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_which_image_is_first_does_not_matter(seed):
    random = np.random.RandomState(seed)
    metric, human, prompt = drawn(random, prompts=8)
    signs = random.choice([-1, 1], len(prompt))
    first = concordance.of_images(metric, human, prompt)
    second = concordance.of_images(metric * signs, human * signs, prompt)
    for one, other in zip(first[:3], second[:3], strict=True):
        assert one.value == pytest.approx(other.value)
        assert one.interval[:2] == pytest.approx(other.interval[:2])


def test_intervals_cover():
    truth = concordance.of_images(*drawn(np.random.RandomState(1), prompts=2000))
    hits = []
    for seed in range(120):
        found = concordance.of_images(*drawn(np.random.RandomState(100 + seed)))
        hits.append(
            [
                one.interval.low <= true.value <= one.interval.high
                for one, true in zip(found[:3], truth[:3], strict=True)
            ]
        )
    assert np.all(np.mean(hits, axis=0) >= 0.9)


def test_a_metric_without_information_is_at_chance():
    random = np.random.RandomState(2)
    _, human, prompt = drawn(random)
    found = concordance.of_images(random.standard_normal(len(human)), human, prompt)
    assert found.accuracy.interval.low < 0.5 < found.accuracy.interval.high
    assert found.kendall.interval.low < 0 < found.kendall.interval.high


def test_perfect_agreement_has_a_lower_end():
    human = np.tile([1.0, -1.0], 20)
    found = concordance.of_images(human * 3, human, np.arange(40))
    assert found.accuracy.value == 1
    assert 0.8 < found.accuracy.interval.low < 1
    assert (found.kendall.value, found.kendall.interval.low) == (pytest.approx(1), None)


def test_what_is_not_measured():
    nothing = concordance.of_images([], [], [])
    assert [one.value for one in nothing[:3]] == [None] * 3
    ties = concordance.of_images(np.arange(1.0, 9.0), np.zeros(8), np.arange(8))
    assert ties.accuracy.interval.method == "not measured: people decide no pair"
    assert ties.kendall.interval.method == "not measured: people decide no pair"
    equal = concordance.of_images(np.zeros(8), np.ones(8), np.arange(8))
    assert (equal.accuracy.value, equal.metric_ties) == (0.5, 8)
    assert equal.spearman.interval.method == "not measured: the metric is equal on all pairs"
    one = concordance.of_images([1.0, 2.0, -1.0], [1.0, -1.0, 1.0], [0, 0, 0])
    assert one.accuracy.value == pytest.approx(1 / 3)
    assert all(value.interval.low is None for value in one[:3])
    with pytest.raises(ValueError, match="finite"):
        concordance.of_images([np.nan], [1.0], [0])
    with pytest.raises(ValueError, match="equal length"):
        concordance.of_images([1.0, 2.0], [1.0], [0])


def test_models():
    found = concordance.of_models([1.0, 2.0, 3.0, 3.0], [0.1, 0.3, 0.2, 0.2])
    assert found.accuracy.value == pytest.approx((1 + 1 + 1 + 0 + 0) / 5)
    assert found.undecided == 1
    expected = stats.kendalltau([1, 2, 3, 3], [0.1, 0.3, 0.2, 0.2]).statistic
    assert found.kendall.value == pytest.approx(expected)
    assert found.kendall.interval.low is None
    assert "4 models are no sample" in found.kendall.interval.method
    two = concordance.of_models([1.0, 2.0], [0.1, 0.3])
    assert (two.accuracy.value, two.kendall.value) == (1.0, None)
    assert concordance.of_models([1.0] * 3, [1.0, 2.0, 3.0]).spearman.value is None
    assert concordance.of_models([], []).accuracy.value is None


@pytest.mark.parametrize(("prompts", "known"), [(4, False), (5, True)])
def test_an_accuracy_of_few_decided_prompts_has_no_interval(prompts, known):
    random = np.random.RandomState(0)
    metric, human = random.standard_normal((2, 40))
    cluster = np.arange(40) % 10
    human[cluster >= prompts] = 0
    found = concordance.of_images(metric, human, cluster).accuracy
    assert found.value is not None
    assert (found.interval.low is not None) == known


@pytest.mark.parametrize(("untied", "known"), [(9, False), (10, True)])
def test_a_rank_correlation_of_few_untied_pairs_has_no_interval(untied, known):
    random = np.random.RandomState(0)
    human, metric = random.standard_normal((2, 40))
    metric[untied:30] = 0  # ties of the metric
    human[30:] = 0  # pairs that people do not decide
    found = concordance.of_images(metric, human, np.arange(40))
    assert found.accuracy.interval.low is not None
    for one in (found.kendall, found.spearman):
        assert one.value is not None
        assert (one.interval.low is not None) == known
        if not known:
            assert one.interval.method == "no interval: only 9 pairs are not tied"


def test_a_correlation_that_rests_on_one_prompt_has_no_interval():
    """Without the prompt, there is nothing to correlate."""
    random = np.random.RandomState(0)
    metric, human, prompt = random.standard_normal((3, 17))
    prompt = np.repeat(np.arange(6), [12, 1, 1, 1, 1, 1])
    human[12:] = 0
    for found in concordance.of_images(metric, human, prompt)[1:3]:
        assert found.value is not None
        assert found.interval[:2] == (None, None)
        assert "not measured without one of the groups of prompts" in found.interval.method


@given(st.integers(0, 10**6), st.integers(5, 60), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_p_is_the_level_at_which_the_interval_reaches_chance(seed, prompts, each):
    random = np.random.RandomState(seed)
    prompt = np.repeat(np.arange(prompts), each)
    metric, human = random.standard_normal((2, len(prompt)))
    found = concordance.of_images(metric + 0.5 * human, human, prompt)
    assert found.p is not None
    if found.p > 0.999:  # the accuracy is 0.5 but for rounding
        return
    for factor, outside in ((1.001, True), (0.999, False)):
        level = 1 - min(found.p * factor, 1.0)
        interval = concordance.of_images(metric + 0.5 * human, human, prompt, level).accuracy[1]
        assert (not interval.low <= 0.5 <= interval.high) == outside


def test_p_of_independent_pairs_is_that_of_the_score_test():
    signs = np.array([1.0] * 30 + [-1.0] * 10)
    found = concordance.of_images(signs, np.ones(40), np.arange(40))
    z = (30 - 20) / (40 * 0.25) ** 0.5
    assert found.p == pytest.approx(2 * stats.norm.sf(z))


def test_without_an_interval_there_is_no_p():
    assert concordance.of_images([1.0] * 4, [1.0] * 4, np.arange(4)).p is None
    assert concordance.of_images([1.0] * 9, [0.0] * 9, np.arange(9)).p is None
