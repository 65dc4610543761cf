"""Means of ratings: analysis of variance, planted truth, and what cannot be measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from evalkit.statistics import clustered


def table(prompts: int, raters: int) -> tuple[np.ndarray, np.ndarray]:
    return np.divmod(np.arange(prompts * raters), raters)


def ratings(random, prompt, rater, prompt_sd=0.6, rater_sd=0.3) -> np.ndarray:
    of_prompt = prompt_sd * random.standard_normal(prompt.max() + 1)
    of_rater = rater_sd * random.standard_normal(rater.max() + 1)
    return of_prompt[prompt] + of_rater[rater] + random.standard_normal(len(prompt))


def test_variances_of_complete_ratings_are_those_of_the_analysis_of_variance():
    prompt, rater = table(12, 4)
    values = ratings(np.random.RandomState(0), prompt, rater)
    frame = pd.DataFrame({"y": values, "p": prompt, "r": rater})
    squares = anova_lm(ols("y ~ C(p) + C(r)", frame).fit())
    of_prompt, of_rater, residual = squares["sum_sq"] / squares["df"]
    found = clustered.variances(values, prompt, rater)
    assert found is not None
    expected = ((of_prompt - residual) / 4, (of_rater - residual) / 12, residual)
    assert found == pytest.approx(expected)


def test_variances_with_gaps_compare_raters_within_prompts():
    """As type III sums of squares do."""
    random = np.random.RandomState(1)
    prompt, rater = table(20, 5)
    kept = random.rand(100) < 0.6
    prompt, rater = prompt[kept], rater[kept]
    values = ratings(random, prompt, rater)
    frame = pd.DataFrame({"y": values, "p": prompt, "r": rater})
    squares = anova_lm(ols("y ~ C(p) + C(r)", frame).fit(), typ=2)
    found = clustered.variances(values, prompt, rater)
    assert found is not None
    assert found.residual == pytest.approx(squares["sum_sq"].iloc[2] / squares["df"].iloc[2])
    assert found == pytest.approx(clustered.variances(values + 100, prompt, rater))


def test_variances_are_unbiased_with_gaps():
    found = []
    for seed in range(400):
        random = np.random.RandomState(seed)
        prompt, rater = table(20, 4)
        kept = random.rand(80) < np.linspace(0.9, 0.4, 4)[rater]
        _, row = np.unique(prompt[kept], return_inverse=True)
        values = ratings(random, row, rater[kept], prompt_sd=1.0, rater_sd=0.5)
        found.append(clustered.variances(values, row, rater[kept]))
    assert np.mean(found, axis=0) == pytest.approx([1.0, 0.25, 1.0], abs=0.05)


@pytest.mark.parametrize("rater_sd", [0.0, 0.25, 1.0])
@pytest.mark.parametrize(("prompts", "raters"), [(20, 3), (50, 5)])
def test_intervals_cover_the_mean_of_other_prompts_and_raters(prompts, raters, rater_sd):
    """600 studies each, standard error 0.9 points; a third of the ratings is missing."""
    hits = 0
    for seed in range(600):
        random = np.random.RandomState(seed)
        prompt, rater = table(prompts, raters)
        kept = (random.rand(len(prompt)) < 0.67) | (rater == 0)
        prompt, rater = prompt[kept], rater[kept]
        values = ratings(random, prompt, rater, rater_sd=rater_sd)
        low, high, _ = clustered.mean(values, prompt, rater).interval
        hits += low <= 0 <= high
    assert 0.925 <= hits / 600 <= 0.985


def test_intervals_of_differences_cover_where_prompts_and_raters_cancel():
    hits, widths = 0, []
    for seed in range(400):
        random = np.random.RandomState(seed)
        prompt, rater = table(30, 4)
        common = ratings(random, prompt, rater, prompt_sd=2.0, rater_sd=2.0)
        one, other = common + 0.5 + random.randn(120), common + random.randn(120)
        found = clustered.difference((one, prompt, rater), (other, prompt, rater))
        hits += found.interval.low <= 0.5 <= found.interval.high
        widths.append(found.interval.high - found.interval.low)
    assert 0.925 <= hits / 400 <= 0.985
    assert np.median(widths) < 1


def test_the_difference_of_complete_ratings_is_the_mean_of_differences():
    random = np.random.RandomState(2)
    prompt, rater = table(15, 3)
    one, other = random.randn(45), random.randn(45)
    found = clustered.difference((one, prompt, rater), (other, prompt, rater))
    same = clustered.mean(one - other, prompt, rater)
    assert found.value == pytest.approx(same.value)
    assert found.interval[:2] == pytest.approx(same.interval[:2])


def test_a_shift_of_both_models_changes_no_difference_with_gaps():
    random = np.random.RandomState(7)
    prompt, rater = table(12, 4)
    sides = []
    for share in (0.9, 0.5):
        kept = random.rand(48) < share
        sides.append((ratings(random, prompt, rater)[kept], prompt[kept], rater[kept]))
    found = clustered.difference(*sides)
    moved = clustered.difference(*((values + 100, *place) for values, *place in sides))
    assert moved.value == pytest.approx(found.value)
    assert moved.interval[:2] == pytest.approx(found.interval[:2])
    swapped = clustered.difference(*sides[::-1])
    assert swapped.interval[:2] == pytest.approx((-found.interval.high, -found.interval.low))


def test_different_raters_of_the_two_models_take_part():
    random = np.random.RandomState(3)
    prompt, rater = table(20, 4)
    one, other = rater < 2, rater >= 2
    values = ratings(random, prompt, rater, rater_sd=1.5)
    found = clustered.difference(
        (values[one], prompt[one], rater[one]), (values[other], prompt[other], rater[other])
    )
    assert found.raters == 4
    assert found.from_raters > 0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(-5, 5), st.floats(0.1, 10))
def test_shift_scale_and_order_do_not_matter(seed, shift, scale):
    random = np.random.RandomState(seed)
    prompt, rater = table(8, 3)
    values, order = ratings(random, prompt, rater), random.permutation(24)
    first = clustered.mean(values, prompt, rater)
    numbers = random.permutation(8)
    second = clustered.mean((values * scale + shift)[order], numbers[prompt][order], rater[order])
    expected = [first.value * scale + shift, *(end * scale + shift for end in first.interval[:2])]
    assert [second.value, *second.interval[:2]] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_the_interval_of_complete_ratings_follows_from_the_analysis_of_variance():
    """The mean square of raters enters with its upper 60% limit; Satterthwaite's degrees."""
    prompt, rater = table(12, 4)
    values = ratings(np.random.RandomState(8), prompt, rater, rater_sd=1.0)
    frame = pd.DataFrame({"y": values, "p": prompt, "r": rater})
    squares = anova_lm(ols("y ~ C(p) + C(r)", frame).fit())
    of_prompt, of_rater, residual = squares["sum_sq"] / squares["df"]
    parts = np.array([of_prompt, 3 * of_rater / stats.chi2.isf(0.6, 3) - residual]) / 48
    degrees = parts.sum() ** 2 / (parts**2 / [11, 3]).sum()
    half = stats.t.isf(0.05, degrees) * parts.sum() ** 0.5
    found = clustered.mean(values, prompt, rater, level=0.9)
    assert found.interval[:2] == pytest.approx((found.value - half, found.value + half))
    assert (found.error, found.degrees) == pytest.approx((parts.sum() ** 0.5, degrees))
    assert found.from_raters == pytest.approx(parts[1])


def test_p_agrees_with_the_interval():
    prompt, rater = table(20, 4)
    found = clustered.mean(ratings(np.random.RandomState(4), prompt, rater), prompt, rater)
    assert found.p(found.interval.low) == pytest.approx(0.05)
    assert found.p(found.value) == 1


def test_one_rater_says_that_it_is_one():
    found = clustered.mean(np.random.RandomState(5).randn(20), np.arange(20), np.zeros(20))
    expected = np.random.RandomState(5).randn(20)
    half = 2.0930240544082634 * expected.std(ddof=1) / 20**0.5
    assert found.interval.high - found.value == pytest.approx(half)
    assert "for this one rater only" in found.interval.method


@pytest.mark.parametrize("single", ["prompts", "raters"])
def test_one_rating_of_each_prompt_or_by_each_rater(single):
    """A crowd: who rates more than once counts as one."""
    random = np.random.RandomState(6)
    each, groups = np.arange(60), np.arange(60) % 6
    values = random.randn(60) + 2 * random.randn(6)[groups]
    place = (each, groups) if single == "prompts" else (groups, each)
    found = clustered.mean(values, *place)
    means = np.array([values[groups == one].mean() for one in range(6)])
    assert found.error == pytest.approx(means.std(ddof=1) / 6**0.5, rel=0.25)


def test_what_has_no_interval():
    nothing = clustered.mean([], [], [])
    assert (nothing.value, nothing.interval.method) == (None, "not measured: no ratings")
    assert clustered.difference(([], [], []), ([1.0], [0], [0])).value is None
    equal = clustered.mean(np.full(20, 3.0), *table(10, 2))
    assert (equal.value, equal.interval.low, equal.p()) == (3.0, None, None)
    assert "all ratings are equal" in equal.interval.method
    one = clustered.mean([1.0, 2.0, 3.0], [0, 0, 0], [0, 1, 2])
    assert (one.value, one.interval.low) == (2.0, None)
    assert "fewer than 5 prompts" in one.interval.method
    assert clustered.variances([1.0, 2.0], [0, 1], [0, 0]) is None
    for values in ([np.nan, 1.0], [1.0, np.inf]):
        with pytest.raises(ValueError, match="finite"):
            clustered.mean(values, [0, 1], [0, 0])
    with pytest.raises(ValueError, match="three arrays"):
        clustered.mean([1.0], [0, 1], [0])
