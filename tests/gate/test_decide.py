"""The decision on one metric, on values whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gated_values import of_numbers, share, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evalkit.core import Measure
from evalkit.gate.config import Rule
from evalkit.gate.decide import Decision, correct, decide
from evalkit.gate.events import Events, few_events
from evalkit.gate.skewness import skewed
from evalkit.gate.snapshot import SHARPNESS


def decision(
    candidate: np.ndarray, baseline: np.ndarray, margin: float, better: str = "higher"
) -> Decision:
    sides = snapshot(candidate, better), snapshot(baseline, better)
    [made] = correct([decide(*sides, "score", Rule(margin=margin), 0.05)], 0.05)
    return made


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize(
    ("shift", "verdict"),
    [(0.0, "PASS"), (-3.0, "REGRESSED"), (3.0, "IMPROVED"), (-1.0, "INCONCLUSIVE")],
)
def test_the_difference_decides_against_the_margin(better: str, shift: float, verdict: str) -> None:
    rng = np.random.default_rng(0)
    baseline = rng.normal(50, 10, 200)
    candidate = baseline + rng.normal(0, 2, 200)
    candidate += baseline.mean() - candidate.mean() + (shift if better == "higher" else -shift)
    made = decision(candidate, baseline, 1.0, better)
    assert made.verdict == verdict
    if verdict in ("PASS", "IMPROVED"):
        assert made.p == 1.0
    if verdict == "INCONCLUSIVE":
        assert "more images" in made.reason


def test_sharper_images_pass_and_are_no_improvement() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(50, 10, 200)
    sides = []
    for shift in (20.0, 0.0):
        made = snapshot(values + shift + rng.normal(0, 2, 200))
        state = replace(made.states["score"], measure=SHARPNESS)
        sides.append(replace(made, states={"sharpness": state}))
    assert decide(*sides, "sharpness", Rule(margin=1.0), 0.05).verdict == "PASS"
    assert decide(*sides[::-1], "sharpness", Rule(margin=1.0), 0.05).low > 1.0  # a blur


@settings(deadline=None, max_examples=60)
@given(
    shift=st.floats(-3, 3),
    spread=st.floats(0.1, 10),
    margin=st.floats(0, 2),
    count=st.integers(5, 80),
    seed=st.integers(0, 1000),
)
def test_verdict_p_value_and_interval_agree(
    shift: float, spread: float, margin: float, count: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    baseline = rng.normal(10, 3, count)
    made = decision(baseline + shift + rng.normal(0, spread, count), baseline, margin)
    assert made.low is not None
    assert made.high is not None
    assert made.p is not None
    assert made.low <= (made.worse or 0.0) + 1e-9
    if made.verdict == "REGRESSED":
        assert made.low > margin
        assert made.p <= 0.05
    if made.p <= 0.049:  # alone in its family
        assert made.verdict == "REGRESSED"
    if made.verdict in ("PASS", "IMPROVED"):
        assert made.high <= margin
        assert made.p > 0.05


def test_false_alarms_of_a_table_of_metrics_stay_below_alpha() -> None:
    """Equal models without any margin: the hardest case."""
    rng, alarms, studies = np.random.default_rng(1), 0, 200
    for _ in range(studies):
        rows = []
        for _ in range(4):
            baseline = rng.normal(0, 1, 100)
            sides = snapshot(baseline + rng.normal(0, 1, 100)), snapshot(baseline)
            rows.append(decide(*sides, "score", Rule(margin=0.0), 0.05))
        alarms += any(one.verdict == "REGRESSED" for one in correct(rows, 0.05))
    assert alarms / studies <= 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5


@pytest.mark.parametrize("sign", [1, -1])
def test_skewed_losses_keep_the_level_better_than_students_t(sign: int) -> None:
    """At the margin: PASS where few prompts lose much, REGRESSED where few gain much."""
    random, studies, wrong, students = np.random.default_rng(7), 250, 0, 0
    verdicts = ("PASS", "IMPROVED") if sign > 0 else ("REGRESSED",)
    for _ in range(studies):
        change = 1 + sign * (random.exponential(1, 72) - 1)  # a worsening by 1, the margin
        wrong += decision(change, np.zeros(72), 1.0, "lower").verdict in verdicts
        alternative = "less" if sign > 0 else "greater"
        students += stats.ttest_1samp(change, 1.0, alternative=alternative).pvalue <= 0.05
    assert wrong < students
    assert wrong / studies <= 0.05 + 2 * (0.05 * 0.95 / studies) ** 0.5


@settings(deadline=None, max_examples=100)
@given(
    values=st.lists(st.floats(-100, 100), min_size=6, max_size=40).filter(
        lambda values: np.std(values) > 1e-3
    ),
    level=st.floats(1e-6, 0.5),
)
def test_the_skewed_interval_is_monotone_and_turns_with_the_sign(
    values: list[float], level: float
) -> None:
    given = np.array(values)
    own, turned = (skewed(one, np.arange(len(given))) for one in (given, -given))
    assert own is not None
    assert turned is not None
    low, high = own.interval(level)
    assert (-high, -low) == pytest.approx(turned.interval(level), rel=1e-6, abs=1e-9)
    wider = own.interval(level / 2)
    assert wider[0] <= low
    assert high <= wider[1]


def test_without_skewness_it_is_the_interval_of_student() -> None:
    values = np.array([-3.0, -1, -0.5, 0.5, 1, 3]) + 2
    found = skewed(values, np.arange(6))
    assert found is not None
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert found.interval(0.1) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_transformation_of_hall_leads_from_the_ends_to_students_t(
    samples: int, sign: int
) -> None:
    """Hall 1992: of t = (mean - end) / error, t + b t^2 / 3 + b^2 t^3 / 27 + b / 6 is Student's."""
    means = sign * np.array([0.1, 0.3, 0.2, 0.5, 4.0, 0.4, 1.2, 0.9])
    within = np.tile(np.arange(samples) - (samples - 1) / 2, len(means))  # cancels in each prompt
    found = skewed(np.repeat(means, samples) + within, np.repeat(np.arange(len(means)), samples))
    assert found is not None
    mean, error = means.mean(), means.std(ddof=1) / 8**0.5
    b = float(stats.skew(means)) / 8**0.5
    for end, quantile in zip(found.interval(0.1), (0.95, 0.05), strict=True):
        t = (mean - end) / error
        reached = t + b * t**2 / 3 + b**2 * t**3 / 27 + b / 6
        assert reached == pytest.approx(stats.t.ppf(quantile, 7))


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_equal_values_pass_without_any_margin_and_nothing_is_minus_zero(better: str) -> None:
    made = decision(np.arange(8.0), np.arange(8.0), 0.0, better)
    assert made.verdict == "PASS"
    assert [str(number) for number in (made.worse, made.low, made.high)] == ["0.0"] * 3


def test_the_smaller_of_two_margins_holds() -> None:
    assert Rule(margin=2.0, relative=0.1).allowed(10.0) == 1.0
    assert Rule(margin=0.5, relative=0.1).allowed(10.0) == 0.5
    assert Rule().allowed(10.0) is None


@pytest.mark.parametrize(
    ("worse", "count", "verdict"),
    [(1, 60, "REGRESSED"), (1, 5, "REGRESSED"), (-1, 60, "IMPROVED"), (1, 4, "INCONCLUSIVE")],
)
def test_a_share_that_changed_for_every_prompt_is_decided(
    worse: int, count: int, verdict: str
) -> None:
    values = np.ones(count), np.zeros(count)
    sides = [snapshot(one, "lower") for one in (values if worse > 0 else values[::-1])]
    state = sides[0].states["score"]
    measure = replace(state.measure, range=(0.0, 1.0))
    sides = [
        replace(s, states={"score": replace(s.states["score"], measure=measure)}) for s in sides
    ]
    [made] = correct([decide(*sides, "score", Rule(margin=0.02), 0.05)], 0.05)
    assert made.verdict == verdict


def test_few_prompts_are_not_decided_even_if_equal() -> None:
    made = decision(np.arange(4.0), np.arange(4.0), 1.0)
    assert (made.verdict, made.reason) == ("INCONCLUSIVE", "fewer than 5 prompts")


def test_five_prompts_with_the_same_change_are_not_decided() -> None:
    baseline = np.arange(6.0)
    made = decision(baseline - 5, baseline, 1.0)
    assert made.verdict == "INCONCLUSIVE"
    assert "the same for every prompt" in made.reason


@pytest.mark.parametrize(
    ("lost", "samples", "count", "verdict"),
    [
        (1, 2, 72, "REGRESSED"),  # one image of two of every prompt
        (1, 4, 60, "REGRESSED"),
        (1, 2, 5, "INCONCLUSIVE"),
        (-1, 2, 72, "IMPROVED"),
        (-1, 2, 5, "INCONCLUSIVE"),
    ],
)
def test_a_share_that_changed_alike_for_every_prompt_is_decided(
    lost: int, samples: int, count: int, verdict: str
) -> None:
    worse = ([1] + [0] * (samples - 1)) * count
    equal = [0] * (samples * count)
    sides = (worse, equal) if lost > 0 else (equal, worse)
    made = share(*sides, 0.02, samples)
    assert made.verdict == verdict
    assert made.worse == lost / samples
    if verdict == "REGRESSED":
        # The most extreme distribution: each prompt loses `worse`, or gains a whole image.
        chance = (1 + 0.02) / (1 + lost / samples)
        assert made.p == pytest.approx(stats.binom.pmf(count, count, chance))


def test_equal_small_changes_of_many_prompts_pass_below_the_margin() -> None:
    sides = [snapshot(np.full(400, value), "lower") for value in (0.51, 0.5)]
    for side in sides:
        measure = replace(side.states["score"].measure, range=(0.0, 1.0))
        side.states["score"] = replace(side.states["score"], measure=measure)  # pyright: ignore
    rows = [decide(*sides, "score", Rule(margin=at), 0.05) for at in (0.012, 0.2)]
    assert [one.verdict for one in correct(rows, 0.05)] == ["INCONCLUSIVE", "PASS"]


def test_a_group_without_a_common_image_is_not_decided() -> None:
    values = np.concatenate([np.zeros(30), np.ones(30)])
    sides = []
    for kept in (slice(0, 40), slice(0, 30)):
        made = snapshot(values, "lower")
        state = made.states["score"]
        measure = replace(state.measure, range=(0.0, 1.0), from_records=True)
        state = replace(state, measure=measure, values=state.values[kept], keys=state.keys[kept])
        state = replace(state, value=float(np.mean(state.values)))
        groups = {key: "late" if at >= 30 else "early" for at, key in enumerate(made.prompts)}
        sides.append(replace(made, groups=groups, states={"score": state}))
    for rule in (Rule(margin=0.02), Rule(margin=0.02, most=0.1)):
        made = decide(*sides, "score", rule, 0.05, "late")
        assert (made.verdict, made.reason) == ("INCONCLUSIVE", "no image in common")
        assert (made.candidate, made.baseline, made.worse, made.images) == (None, None, None, 0)
    state = sides[0].states["score"]
    others = replace(state, values=state.values[30:], keys=state.keys[30:], value=1.0)
    apart = replace(sides[0], states={"score": others})
    made = decide(apart, sides[1], "score", Rule(margin=0.02), 0.05)
    assert (made.verdict, made.candidate) == ("INCONCLUSIVE", None)
    made = decide(apart, sides[1], "score", Rule(margin=0.02, most=0.5), 0.05)  # of the value
    assert (made.verdict, made.basis) == ("REGRESSED", "tripwire")


def test_groups_of_other_texts_are_never_paired() -> None:
    """Prompts of equal text are left out together: both sides need the same ones."""
    sides = []
    for texts in ("unique", "all but two unique"):
        made = snapshot(np.arange(40.0), "lower")
        state = made.states["score"]
        left_out = tuple(np.random.default_rng(len(texts)).normal(0, 1, 20))
        state = replace(state, values=None, left_out=left_out)
        known = dict(made.prompts)
        if texts != "unique":
            known["p0001"] = known["p0000"]
        sides.append(replace(made, prompts=known, states={"score": state}))
    made = decide(*sides, "score", Rule(margin=1.0), 0.05)
    assert made.verdict == "INCONCLUSIVE"
    assert "other prompts of equal text" in made.reason
    assert decide(sides[0], sides[0], "score", Rule(margin=1.0), 0.05).verdict == "PASS"


def test_the_smallest_alpha_still_finds_a_certain_regression() -> None:
    rng = np.random.default_rng(0)
    sides = snapshot(rng.normal(0, 1, 200)), snapshot(rng.normal(50, 1, 200))
    rows = [decide(*sides, "score", Rule(margin=1.0), 1e-6) for _ in range(100)]
    assert {one.verdict for one in correct(rows, 1e-6)} == {"REGRESSED"}


@pytest.mark.parametrize(("count", "verdict"), [(60, "INCONCLUSIVE"), (149, "PASS")])
def test_what_never_happened_passes_only_with_enough_prompts(count: int, verdict: str) -> None:
    made = share([0] * count, [0] * count, 0.02)
    assert made.verdict == verdict
    assert made.high == pytest.approx(1 - 0.05 ** (1 / count))  # the exact one-sided bound
    if verdict == "INCONCLUSIVE":
        assert made.more_images == 149 - count
        assert "no prompt changed" in made.reason
        more = share([0] * (count + made.more_images), [0] * (count + made.more_images), 0.02)
        assert more.verdict == "PASS"


def test_a_few_events_are_tested_exactly() -> None:
    for worse, verdict in ((3, "INCONCLUSIVE"), (4, "INCONCLUSIVE"), (8, "REGRESSED")):
        made = share([1] * worse + [0] * (200 - worse), [0] * 200, 0.005)
        expected = max(
            stats.binom.sf(worse - 1, 200, 0.005), stats.binomtest(worse, worse, 0.5).pvalue / 2
        )
        assert made.p is not None
        assert made.p >= expected - 1e-12
        assert made.verdict == verdict, worse
    made = share([0] * 200, [1] * 8 + [0] * 192, 0.02)
    assert made.verdict == "IMPROVED"


def test_the_p_value_of_events_is_the_larger_of_both_ends_of_the_hypothesis() -> None:
    """No prompt becomes better; or as many as become worse."""
    assert Events(8, 0, 200).p(0.02) == pytest.approx(stats.binom.sf(7, 200, 0.02))
    assert Events(8, 6, 200).p(0.0) == pytest.approx(stats.binomtest(8, 14).pvalue / 2, rel=0.01)
    assert Events(200, 0, 200).p(1.5) == 1.0
    assert Events(0, 0, 60).high(0.1) == pytest.approx(1 - 0.05 ** (1 / 60))
    assert [Events(0, better, 60).is_better(0.05) for better in (4, 5)] == [False, True]


def test_events_are_the_prompts_that_changed_for_the_worse_and_for_the_better() -> None:
    """Two samples of each prompt; of p0002, one became better and one became worse."""
    values = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]
    measure = replace(Measure("score", "lower"), range=(0.0, 1.0))
    one, other = (snapshot(np.array(side), "lower", 2).states["score"] for side in values)
    one, other = replace(one, measure=measure), replace(other, measure=measure)
    changes = dict(zip(one.keys, np.subtract(*values), strict=True))
    assert few_events(one, other, changes, 1.0) == (1, 1, 4)
    assert few_events(one, other, changes, -1.0) == (1, 1, 4)
    assert few_events(one, other, dict(list(changes.items())[:2]), 1.0) == (1, 0, 1)
    parts = replace(one, values=(0.5, *values[0][1:]))  # no share of what happened or did not
    wide = replace(one, measure=replace(measure, range=(0.0, 2.0)))
    assert few_events(parts, other, changes, 1.0) is None
    assert few_events(wide, other, changes, 1.0) is None
    assert few_events(one, other, {}, 1.0) is None


@pytest.mark.parametrize(("changed", "few"), [(9, True), (10, False)])
def test_events_are_few_below_ten_prompts_that_changed(changed: int, few: bool) -> None:
    measure = replace(Measure("score", "lower"), range=(0.0, 1.0))
    values = np.array([1.0] * changed + [0.0] * (40 - changed))
    sides = [snapshot(side, "lower").states["score"] for side in (values, np.zeros(40))]
    one, other = (replace(side, measure=measure) for side in sides)
    found = few_events(one, other, dict(zip(one.keys, values, strict=True)), 1.0)
    assert found == ((changed, 0, 40) if few else None)


def test_false_alarms_and_false_passes_of_rare_events_stay_below_alpha() -> None:
    random, wrong, studies = np.random.default_rng(3), {0.0: 0, 0.02: 0}, 120
    for _ in range(studies):
        base = (random.random(150) < 0.01).astype(int).tolist()
        same = (random.random(150) < 0.01).astype(int).tolist()
        wrong[0.0] += share(same, base, 0.0).verdict == "REGRESSED"
        worse = (random.random(150) < 0.03).astype(int).tolist()  # by just the margin
        wrong[0.02] += share(worse, base, 0.02).verdict in ("PASS", "IMPROVED")
    for count in wrong.values():
        assert count / studies <= 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5


def test_equal_images_need_no_further_prompts() -> None:
    values = snapshot(np.zeros(20), "lower")
    state = values.states["score"]
    state = replace(state, measure=replace(state.measure, range=(0.0, 1.0)))
    images = tuple((*key, "same") for key in state.keys)
    side = replace(values, states={"score": state}, images=images)
    made = decide(side, side, "score", Rule(margin=0.02), 0.05)
    assert made.verdict == "PASS"
    other = replace(side, images=(*images[1:], (*state.keys[0], "other")))
    assert decide(side, other, "score", Rule(margin=0.02), 0.05).verdict == "INCONCLUSIVE"


@pytest.mark.parametrize(("better", "sign"), [("higher", -1), ("lower", 1)])
def test_ratings_are_decided_by_the_intervals_of_two_independent_studies(
    better: str, sign: int
) -> None:
    """Half widths of 3 and 4 points make one of 5 points for the difference."""
    base = of_numbers(0.6, 0.56, 0.64, better, from_ratings=True)
    error = 0.05 / stats.norm.ppf(0.975)
    for worse, margin, verdict in (
        (0.2, 0.1, "REGRESSED"),
        (0.1, 0.1, "INCONCLUSIVE"),
        (0.0, 0.1, "PASS"),
        (-0.1, 0.1, "IMPROVED"),
    ):
        value = 0.6 + sign * worse
        side = of_numbers(value, value - 0.03, value + 0.03, better, from_ratings=True)
        [made] = correct([decide(side, base, "score", Rule(margin=margin), 0.05)], 0.05)
        assert (made.verdict, made.basis) == (verdict, "interval")
        reach = stats.norm.isf(0.05) * error
        assert (made.worse, made.low, made.high) == pytest.approx(
            (worse, worse - reach, worse + reach), abs=1e-12
        )
        if worse > margin:
            assert made.p == pytest.approx(stats.norm.sf((worse - margin) / error), rel=1e-6)


def test_undecided_ratings_ask_for_answers_and_not_for_images() -> None:
    sides = (of_numbers(value, value - 0.1, value + 0.1, from_ratings=True) for value in (0.5, 0.6))
    made = decide(*sides, "score", Rule(margin=0.15), 0.05)
    assert (made.verdict, made.more_images) == ("INCONCLUSIVE", None)
    assert made.reason == "the interval includes the margin: more answers may decide"


def test_ratings_without_an_interval_are_not_decided() -> None:
    base, side = (of_numbers(0.6, *ends, from_ratings=True) for ends in ((0.5, 0.7), ()))
    made = decide(side, base, "score", Rule(margin=0.1), 0.05)
    assert (made.verdict, made.reason) == ("INCONCLUSIVE", "no interval")


@pytest.mark.parametrize(
    ("better", "value", "rule", "verdict", "basis"),
    [
        ("lower", 5.0, Rule(margin=1.0), "PASS", "point"),  # at the margin
        ("lower", 5.5, Rule(margin=1.0), "REGRESSED", "point"),
        ("higher", 3.0, Rule(margin=1.0), "PASS", "point"),
        ("higher", 2.5, Rule(relative=0.25), "REGRESSED", "point"),
        ("higher", 9.0, Rule(margin=1.0), "PASS", "point"),
        ("lower", 9.0, Rule(most=9.0), "PASS", "point"),  # no margin, and at the limit
        ("lower", 9.0, Rule(most=8.5), "REGRESSED", "tripwire"),
        ("higher", 3.5, Rule(margin=1.0, least=3.5), "PASS", "point"),
        ("higher", 3.5, Rule(margin=1.0, least=3.6), "REGRESSED", "tripwire"),
    ],
)
def test_numbers_of_records_follow_a_point_rule(
    better: str, value: float, rule: Rule, verdict: str, basis: str
) -> None:
    sides = (of_numbers(one, better=better, from_records=True) for one in (value, 4.0))
    [made] = correct([decide(*sides, "score", rule, 0.05)], 0.05)
    assert (made.verdict, made.basis) == (verdict, basis)
    assert made.worse == (value - 4.0) * (1 if better == "lower" else -1) or rule.most is not None
    assert (made.low, made.p, made.images) == (None, None, 0)


def test_a_number_that_one_of_the_two_lacks_is_not_decided() -> None:
    sides = of_numbers(None, from_records=True), of_numbers(4.0, from_records=True)
    made = decide(*sides, "score", Rule(margin=1.0), 0.05)
    assert (made.verdict, made.reason) == ("INCONCLUSIVE", "no device")
    made = decide(*sides[::-1], "score", Rule(margin=1.0), 0.05)
    assert (made.verdict, made.reason) == ("INCONCLUSIVE", "baseline: not measured: no device")


def test_the_further_images_that_would_decide_follow_the_square_root_law() -> None:
    """The half width of the interval falls to the distance of the difference from the margin."""
    rng = np.random.default_rng(0)
    baseline = rng.normal(0, 1, 100)
    made = decision(baseline + rng.normal(0, 2, 100), baseline, 0.3)
    assert made.verdict == "INCONCLUSIVE"
    half, distance = made.high - made.worse, abs(0.3 - made.worse)
    wider = 1 + stats.norm.ppf(0.8) / stats.norm.ppf(0.95)
    assert made.more_images == int(np.ceil(100 * (wider * half / distance) ** 2)) - 100
    assert f"about {made.more_images:,} more images" in made.reason
    exact = snapshot(np.tile([-1.0, 1.0], 50) - 0.25), snapshot(np.zeros(100))
    made = decide(*exact, "score", Rule(margin=0.25), 0.05)
    assert made.more_images is None
    assert "as large as the margin" in made.reason
