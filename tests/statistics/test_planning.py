"""A study of the planned size has the planned power; more votes make the planned width."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from evalkit.statistics import clustered, planning, preferences
from evalkit.statistics.clustered import Variances
from evalkit.statistics.intervals import Interval
from evalkit.statistics.votes import checked


def place(random, prompts: int, raters: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    chosen = [random.permutation(raters)[:each] for _ in range(prompts)]
    return np.repeat(np.arange(prompts), each), np.concatenate(chosen)


@pytest.mark.parametrize(
    ("variances", "raters", "each"),
    [
        (Variances(0.4, 0.03, 1.0), 5, 5),
        (Variances(0.5, 0.0, 1.0), 3, 3),
        (Variances(0.3, 0.02, 1.0), 12, 3),
    ],
)
def test_a_study_on_a_scale_has_the_planned_power(variances, raters, each):
    """1000 studies: a standard error of 1.3 points."""
    plan = planning.plan(0.35, variances, raters, each)
    assert plan.votes == plan.prompts * each
    found = []
    for seed in range(1000):
        random = np.random.RandomState(seed)
        prompt, rater = place(random, plan.prompts, raters, each)
        values = 0.35 + variances.prompt**0.5 * random.randn(plan.prompts)[prompt]
        values += variances.rater**0.5 * random.randn(raters)[rater]
        values += variances.residual**0.5 * random.randn(len(prompt))
        found.append(clustered.mean(values, prompt, rater).p() <= 0.05)
    assert plan.power == pytest.approx(0.8, abs=0.02)
    assert np.mean(found) == pytest.approx(plan.power, abs=0.03)


def test_a_study_of_votes_has_the_planned_power():
    """1000 studies: a standard error of 1.3 points."""
    effect, tie, prompt_sd, rater_sd = 0.1, 0.2, 0.15, 0.03
    plan = planning.plan(effect, planning.vote_variances(effect, tie, prompt_sd, rater_sd), 6, 3)
    found = []
    for seed in range(1000):
        random = np.random.RandomState(seed)
        prompt, rater = place(random, plan.prompts, 6, 3)
        rate = 0.5 + effect + prompt_sd * random.randn(plan.prompts)[prompt]
        rate += rater_sd * random.randn(6)[rater]
        u = random.rand(len(prompt))
        answer = np.where(u < rate - tie / 2, 1, np.where(u < rate + tie / 2, 0, -1))
        votes = checked(prompt * 0, prompt * 0 + 1, answer, prompt, rater)
        p = preferences.p_of_half(preferences.win_rates(votes, 2).matrix[0][1])
        found.append(p is not None and p <= 0.05)
    assert np.mean(found) == pytest.approx(plan.power, abs=0.03)


@pytest.mark.parametrize(("effect", "raters", "each"), [(2.5, 2, 2), (0.8, 3, 1)])
def test_the_power_of_small_studies_is_that_of_simulated_ones(effect, raters, each):
    """1500 studies: a standard error of 1.3 points."""
    variances, found = Variances(0.2, 0.1, 1.0), []
    for seed in range(1500):
        random = np.random.RandomState(seed)
        prompt, rater = place(random, 12, raters, each)
        values = effect + variances.prompt**0.5 * random.randn(12)[prompt]
        values += variances.rater**0.5 * random.randn(raters)[rater]
        values += variances.residual**0.5 * random.randn(len(prompt))
        found.append((clustered.mean(values, prompt, rater).p() or 1.0) <= 0.05)
    expected = planning.power(effect, variances, 12, raters, each)
    assert 0.2 < expected < 0.98
    assert np.mean(found) == pytest.approx(expected, abs=0.05)


def test_the_variance_of_a_vote_is_divided_by_hand():
    """A quarter of the share without ties; what prompts and raters add is part of it."""
    found = planning.vote_variances(0.1, 0.2, prompt_sd=0.3, rater_sd=0.2)
    assert found == pytest.approx((0.09, 0.04, 0.2 - 0.09 - 0.04))
    assert planning.vote_variances(0.4, 0.2).prompt == pytest.approx(0.15**2)  # the largest effect


def test_one_rater_is_the_paired_t_test():
    variances = Variances(0.6, 0.0, 0.4)
    plan = planning.plan(0.4, variances, 1)
    expected = TTestPower().solve_power(0.4, power=0.8, alpha=0.05)
    assert plan.prompts == pytest.approx(expected, rel=0.05)
    assert planning.power(0.4, variances, 60, 1) == pytest.approx(
        TTestPower().power(0.4, 60, 0.05), abs=0.02
    )


def test_votes_with_ties_agree_with_the_table_of_nemo():
    """Of 100 pairs a tenth is decided: a difference of 8.8 points in wins, 4.4 in win rate."""
    for prompts, points in ((100, 8.8), (1000, 2.8)):
        effect = planning.detectable(planning.vote_variances(0.0, 0.9, 0.0, 0.0), prompts, 1)
        assert 200 * effect == pytest.approx(points, rel=0.04)


def test_more_raters_are_needed_where_raters_differ():
    plan = planning.plan(0.05, planning.vote_variances(0.05, 0.2, rater_sd=0.1), 3)
    assert (plan.prompts, plan.votes) == (None, None)
    assert "20000 prompts are not enough with 3 raters" in plan.method
    assert "more raters" in plan.method
    assert planning.plan(0.05, planning.vote_variances(0.05, 0.2, rater_sd=0.1), 60).prompts


def test_power_grows_with_everything():
    variances = Variances(0.3, 0.05, 1.0)
    start = planning.power(0.3, variances, 40, 5)
    assert planning.power(0.5, variances, 40, 5) > start
    assert planning.power(0.3, variances, 80, 5) > start
    assert planning.power(0.3, variances, 40, 10) > start
    assert planning.power(0.0, variances, 40, 5) == pytest.approx(0.05, abs=0.025)
    assert planning.power(5.0, variances, 5, 8, 2) == 0.0
    assert planning.power(0.3, variances, 40, 5, 1) < start
    smallest = planning.detectable(variances, 40, 5)
    assert planning.power(smallest, variances, 40, 5) == pytest.approx(0.8, abs=0.01)


def test_the_votes_that_are_needed_make_the_interval_narrow_enough():
    random = np.random.RandomState(3)

    def study(prompts: int) -> clustered.Estimate:
        prompt, rater = np.divmod(np.arange(prompts * 4), 4)
        return clustered.mean(
            0.7 * random.randn(prompts)[prompt] + random.randn(prompts * 4), prompt, rater
        )

    first = study(40)
    more = planning.more_votes(first, 0.1)
    assert more.votes == more.prompts * 4
    widths = [study(40 + more.prompts).interval for _ in range(60)]
    assert np.median([high - low for low, high, _ in widths]) / 2 == pytest.approx(0.1, rel=0.3)
    assert planning.more_votes(first, 10.0).votes == 0
    half = (first.interval.high - first.interval.low) / 2
    assert planning.more_votes(first, half) == (0, 0, "narrow enough")
    few = clustered.mean([1.0, 2.0], [0, 1], [0, 0])
    assert planning.more_votes(few, 0.1)[:2] == (None, None)
    spoiled = first._replace(from_raters=0.9 * first.error**2)
    assert "raters differ" in planning.more_votes(spoiled, 0.01).reason


@pytest.mark.parametrize("from_raters", [0.0, 0.001])
def test_more_votes_are_the_fewest_that_are_enough(from_raters: float):
    """The part of raters stays, with its degrees of freedom; the rest falls as 1 / prompts."""
    rest = 0.01 - from_raters

    def half(prompts: int) -> float:
        part = rest * 10 / prompts
        degrees = (part + from_raters) ** 2 / (part**2 / (prompts - 1) + from_raters**2 / 3)
        return stats.t.isf(0.025, degrees) * (part + from_raters) ** 0.5

    interval = Interval(-half(10), half(10), "")
    found = clustered.Estimate(0.0, interval, 0.1, 9.0, from_raters, 10, 4, 35)
    wanted = 0.9 * half(10)
    needed = next(prompts for prompts in range(10, 1000) if half(prompts) <= wanted)
    more = planning.more_votes(found, wanted)
    assert more.prompts == needed - 10 > 0
    assert more.votes == math.ceil(3.5 * more.prompts)


def test_impossible_plans_are_refused():
    variances = Variances(0.3, 0.05, 1.0)
    for call in (
        lambda: planning.plan(0.0, variances, 3),
        lambda: planning.power(0.1, variances, 1, 3),
        lambda: planning.power(0.1, variances, 10, 3, 4),
        lambda: planning.vote_variances(0.1, 1.0),
        lambda: planning.vote_variances(0.45, 0.2),
        lambda: planning.vote_variances(0.1, 0.9, prompt_sd=0.3),
        lambda: planning.detectable(Variances(0.0, 0.0, 0.0), 10, 3),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            call()
