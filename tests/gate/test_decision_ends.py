"""The decision on one metric at the ends of its ranges and counts, and the reason it states."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gated_values import of_numbers, share, snapshot
from scipy import stats

from evalkit.gate.config import Rule
from evalkit.gate.decide import Decision, compared, correct, decide
from evalkit.gate.events import Events
from evalkit.gate.skewness import skewed
from evalkit.gate.snapshot import Snapshot

SKEWED = np.array([0.1, 0.3, 0.2, 0.5, 4.0, 0.4, 1.2, 0.9])
WIDER = 1 + stats.norm.ppf(0.8) / stats.norm.ppf(0.95)  # for a power of 80%, in place of 50%


def changed(side: Snapshot, **fields: Any) -> Snapshot:
    """The model with other fields of its metric, or of the measure of it."""
    state = side.states["score"]
    measure = {name: fields.pop(name) for name in ("range", "better") if name in fields}
    state = replace(state, measure=replace(state.measure, **measure), **fields)
    return replace(side, states={"score": state})


def of_set(value: float | None, left_out: np.ndarray | None, note: str = "") -> Snapshot:
    """A property of the set of forty prompts, better low, with values without 20 groups."""
    without = None if left_out is None else tuple(left_out.tolist())
    whole = snapshot(np.zeros(40), "lower")
    return changed(whole, value=value, values=None, left_out=without, note=note)


def alone(a: Snapshot, b: Snapshot, rule: Rule, alpha: float = 0.05) -> Decision:
    [made] = correct([decide(a, b, "score", rule, alpha)], alpha)
    return made


@pytest.mark.parametrize("turn", [1, -1])
def test_the_interval_has_the_wider_of_both_ends_and_is_turned_so_that_worse_is_positive(
    turn: int,
) -> None:
    for better, sign in (("lower", 1), ("higher", -1)):
        sides = snapshot(turn * SKEWED, better), snapshot(np.zeros(8), better)
        found = compared(*sides, "score")
        assert not isinstance(found, str)
        assert found.skewed is not None
        plain, skew = found.difference.interval(0.1), found.skewed.interval(0.1)
        low, high = min(plain[0], skew[0]), max(plain[1], skew[1])
        assert {low, high} != set(plain) != {low, high}
        made = alone(*sides, Rule(margin=0.01))
        assert (made.low, made.high) == ((low, high) if sign > 0 else (-high, -low))
        assert made.worse == pytest.approx(sign * turn * SKEWED.mean())
        assert (made.candidate, made.baseline) == (pytest.approx(turn * SKEWED.mean()), 0.0)


def test_where_all_prompts_agree_there_is_no_skewness() -> None:
    prompts = np.repeat(np.arange(7), 3)
    assert skewed(np.tile([1.0, 0.0, 0.0], 7), prompts) is None
    assert skewed(np.full(21, 0.1), prompts) is None
    assert skewed(np.array([0.1, 0.7, 0.4]), np.zeros(3, int)) is None
    two = skewed(np.array([0.0, 1.0]), np.arange(2))
    assert two == (0.5, 0.5, 0.0, 1)


def test_properties_of_sets_are_paired_by_group() -> None:
    random = np.random.default_rng(0)
    base = random.normal(2, 0.01, 20)
    sides = of_set(3.0, base + 1 + random.normal(0, 0.01, 20)), of_set(2.0, base)
    made = alone(*sides, Rule(margin=0.5))
    assert (made.metric, made.encoder, made.group) == ("score", "e", "")
    assert (made.candidate, made.baseline, made.worse) == (3.0, 2.0, 1.0)
    assert (made.images, made.prompts, made.verdict) == (40, 40, "REGRESSED")
    assert made.reason == "worse than the margin allows"
    assert alone(*sides[::-1], Rule(margin=0.5)).verdict == "IMPROVED"


def test_a_set_whose_groups_all_change_alike_is_not_decided() -> None:
    """No value per prompt bounds what the others may do."""
    sides = [changed(of_set(at, np.full(20, at)), range=(0.0, 1.0)) for at in (0.5, 0.25)]
    made = alone(*sides, Rule(margin=0.1))
    assert (made.verdict, made.p, made.worse) == ("INCONCLUSIVE", None, 0.25)
    assert made.reason


@pytest.mark.parametrize("turn", [1, -1])
def test_what_only_one_of_the_two_has_is_no_pair(turn: int) -> None:
    whole = of_set(2.0, np.arange(20.0))
    for other, reason in (
        (of_set(2.0, None, "of a few images"), "of a few images"),
        (of_set(2.0, None), "no interval"),
        (snapshot(np.arange(40.0), "lower"), "no interval"),
    ):
        sides = (whole, other)[::turn]
        made = alone(*sides, Rule(margin=1.0))
        assert (made.verdict, made.reason) == ("INCONCLUSIVE", reason)
        assert (made.candidate, made.margin) == (sides[0].states["score"].value, 1.0)
    numbers = (of_numbers(2.0, better="lower"), snapshot(np.arange(6.0), "lower"))[::turn]
    made = alone(*numbers, Rule(margin=1.0))
    assert (made.verdict, made.reason) == ("INCONCLUSIVE", "no interval")
    part = changed(whole, keys=whole.states["score"].keys[1:])
    made = alone(*(whole, part)[::turn], Rule(margin=1.0))
    assert made.reason.startswith("the images differ, and the baseline file cannot be measured")


def test_sets_of_fewer_than_five_prompts_are_not_decided() -> None:
    whole = of_set(2.0, np.arange(4.0))
    few = changed(whole, keys=whole.states["score"].keys[:4])
    made = alone(few, few, Rule(margin=1.0))
    assert (made.verdict, made.reason) == ("INCONCLUSIVE", "too few prompts")
    made = alone(few, few, Rule(margin=1.0, most=1.5))
    assert (made.verdict, made.reason) == ("REGRESSED", "2 is above the limit of 1.5")


def test_questions_and_groups_are_named_apart_from_the_metric() -> None:
    side = snapshot(np.arange(40.0))
    groups = {prompt: "late" if prompt > "p0019" else "early" for prompt in side.prompts}
    state = side.states["score"]
    side = replace(side, groups=groups, states={"score@human:x": replace(state, reference="r")})
    made = decide(side, side, "score@human:x", Rule(margin=1.0), 0.05, "late")
    assert (made.metric, made.encoder, made.reference) == ("score", "e", "r")
    assert (made.group, made.images, made.prompts) == ("late", 20, 20)
    assert (made.candidate, made.baseline) == (29.5, 29.5)


def test_a_limit_alone_has_no_margin() -> None:
    sides = snapshot(np.arange(6.0)), snapshot(np.arange(6.0))
    made = alone(*sides, Rule(least=2.5))
    assert (made.verdict, made.reason, made.margin) == ("PASS", "no margin", None)
    made = alone(*sides, Rule(least=2.6))
    assert (made.verdict, made.reason) == ("REGRESSED", "2.5 is below the limit of 2.6")
    few = snapshot(np.arange(4.0)), snapshot(np.arange(4.0))
    made = alone(*few, Rule(margin=1.0, most=1.25))
    assert (made.verdict, made.basis) == ("REGRESSED", "tripwire")


def test_a_tripwire_keeps_its_reason_where_the_difference_is_significant_as_well() -> None:
    base = np.random.default_rng(0).normal(0, 1, 60)
    made = alone(snapshot(base + 9, "lower"), snapshot(base * 0.9, "lower"), Rule(1.0, most=5))
    assert made.p_adjusted is not None
    assert made.p_adjusted < 1e-6
    assert (made.verdict, made.basis) == ("REGRESSED", "tripwire")
    assert "is above the limit of 5" in made.reason


@pytest.mark.parametrize(
    ("worse", "margin", "count", "alpha", "verdict", "p"),
    [
        (-0.5, 0.2, 7, 0.05, "PASS", 1.0),  # 1.5 ** -7 is 0.059
        (-0.5, 0.2, 8, 0.05, "IMPROVED", 1.0),
        (0.05, 0.2, 17, 0.05, "INCONCLUSIVE", None),  # (0.8 / 0.95) ** 17 is 0.054
        (0.05, 0.2, 18, 0.05, "PASS", 1.0),
        (-0.01, 0.2, 60, 0.05, "PASS", 1.0),  # better by too little to be sure
        (1.0, 0.0, 5, 1 / 32, "REGRESSED", 1 / 32),  # just at alpha
        (-1.0, 0.0, 5, 1 / 32, "IMPROVED", 1.0),
        (0.5, 0.75, 5, 1 / 32, "PASS", 1.0),
        (0.5, 0.5, 60, 0.05, "INCONCLUSIVE", None),  # the margin itself
        (0.05, 4.5, 60, 0.05, "PASS", 1.0),  # a margin wider than the range
    ],
)
@pytest.mark.parametrize("span", [(0.0, 1.0), (-3.0, -2.0), (0.5, 1.5)])
def test_changes_by_the_same_value_are_decided_by_their_count(
    worse: float,
    margin: float,
    count: int,
    alpha: float,
    verdict: str,
    p: float | None,
    span: tuple[float, float],
) -> None:
    values = (np.full(count, value) for value in (max(worse, 0.0), max(-worse, 0.0)))
    sides = [changed(snapshot(one + span[0], "lower"), range=span) for one in values]
    made = alone(*sides, Rule(margin=margin), alpha)
    assert made.verdict == verdict
    assert made.p == (None if p is None else pytest.approx(p))
    assert (made.low, made.high) == (None, None)


def test_the_margin_is_not_reached_at_the_end_of_the_interval() -> None:
    random = np.random.default_rng(0)
    base = random.normal(0, 1, 60)
    sides = snapshot(base + random.normal(0, 1, 60), "lower"), snapshot(base, "lower")
    high = alone(*sides, Rule(margin=1.0)).high
    assert high is not None
    made = alone(*sides, Rule(margin=high))
    assert (made.verdict, made.more_images) == ("INCONCLUSIVE", math.floor(60 * WIDER**2) - 60 + 1)
    said = f"about {made.more_images} more images would decide in 4 of 5 cases"
    assert made.reason == f"the interval includes the margin: {said}"
    assert alone(*sides, Rule(margin=float(np.nextafter(high, 9)))).verdict == "PASS"
    assert alone(*sides, Rule(margin=0.0)).verdict == "INCONCLUSIVE"


def test_p_is_the_level_at_which_the_interval_reaches_the_margin() -> None:
    random = np.random.default_rng(0)
    base = random.normal(0, 1, 60)
    sides = snapshot(base + random.normal(0.3, 1, 60), "lower"), snapshot(base, "lower")
    found = compared(*sides, "score")
    assert not isinstance(found, str)
    for level in (0.01, 0.1, 0.4, 0.9):
        margin = found.worse(level, 1.0)[0]
        made = alone(*sides, Rule(margin=margin))
        assert made.p == pytest.approx(level / 2, rel=0.02)
    assert alone(*sides, Rule(margin=found.worse(1.0, 1.0)[0])).p == 1.0


def test_a_difference_above_the_margin_that_the_correction_leaves_open_says_so() -> None:
    random = np.random.default_rng(0)
    base = random.normal(0, 1, 60)
    sides = snapshot(base + random.normal(0.5, 1, 60), "lower"), snapshot(base, "lower")
    found = compared(*sides, "score")
    assert not isinstance(found, str)
    margin = found.worse(0.08, 1.0)[0]  # p is 0.04, and 0.08 of two metrics
    rows = [decide(*sides, "score", Rule(margin=margin), 0.05)] * 2
    for made in correct(rows, 0.05):
        assert (made.verdict, made.more_images) == ("INCONCLUSIVE", None)
        assert made.reason == "above the margin, but its corrected p-value is not significant"
        assert made.p_adjusted == pytest.approx(0.08, rel=0.01)
    [made] = correct(rows[:1], 0.05)
    assert (made.verdict, made.reason) == ("REGRESSED", "worse than the margin allows")


def test_the_further_images_are_those_that_move_the_nearer_end_beyond_the_margin() -> None:
    """A skewed interval has two halves."""
    sides = snapshot(SKEWED, "lower"), snapshot(np.zeros(8), "lower")
    for margin in (0.6, 1.2):  # below and above the difference
        made = alone(*sides, Rule(margin=margin))
        assert made.verdict == "INCONCLUSIVE"
        assert made.low is not None
        assert made.high is not None
        assert made.worse is not None
        half = made.worse - made.low if made.worse > margin else made.high - made.worse
        expected = 8 * (WIDER * half / (margin - made.worse)) ** 2 - 8
        assert made.more_images == np.floor(expected) + 1


def test_so_many_further_images_decide_in_four_of_five_cases() -> None:
    random, count = np.random.default_rng(0), 40
    first = random.normal(0.2, 1, count)
    made = alone(snapshot(first, "lower"), snapshot(np.zeros(count), "lower"), Rule(margin=0.25))
    assert (made.verdict, made.worse) == ("INCONCLUSIVE", pytest.approx(first.mean()))
    assert made.more_images is not None
    more, decided = count + made.more_images, 0
    for _ in range(200):
        values = random.normal(first.mean(), first.std(), more)
        sides = snapshot(values, "lower"), snapshot(np.zeros(more), "lower")
        decided += alone(*sides, Rule(margin=0.25)).verdict == "PASS"
    assert 0.72 < decided / 200 < 0.88


def test_a_million_further_images_is_the_largest_estimate() -> None:
    sides = snapshot(SKEWED, "lower"), snapshot(np.zeros(8), "lower")
    known = alone(*sides, Rule(margin=1.2))
    assert known.high is not None
    assert known.worse is not None
    for more, expected in ((999_999.5, 1_000_000), (1_000_000.5, None)):
        distance = WIDER * (known.high - known.worse) * (8 / (8 + more)) ** 0.5
        made = alone(*sides, Rule(margin=known.worse + distance))
        assert made.more_images == expected
        said = "about 1,000,000 more images would decide" if expected else "as large as the margin"
        assert said in made.reason


def test_ratings_that_are_certain_and_at_the_margin_are_not_decided() -> None:
    sides = [of_numbers(one, one, one, "lower", from_ratings=True) for one in (0.75, 0.5)]
    made = alone(*sides, Rule(margin=0.25))
    assert (made.verdict, made.worse, made.low) == ("INCONCLUSIVE", 0.25, 0.25)
    assert alone(*sides, Rule(margin=0.3)).verdict == "PASS"


@pytest.mark.parametrize(
    ("worse", "better", "improved"), [(0, 4, False), (0, 5, True), (1, 7, True), (2, 7, False)]
)
def test_the_bound_of_few_events_is_left_out_only_where_the_sign_test_says_better(
    worse: int, better: int, improved: bool
) -> None:
    """Of 1 worse and 7 better, the p-value is 0.035: below 0.05, and above a third of 0.1."""
    rest = [0] * (60 - worse - better)
    one, other = [1] * worse + [0] * better + rest, [0] * worse + [1] * better + rest
    made = share(one, other, 0.2)
    found = compared(*(snapshot(np.array(side, float), "lower") for side in (one, other)), "score")
    assert not isinstance(found, str)
    low, high = found.worse(0.1, 1.0)
    bound = Events(worse, better, 60).high(0.1)
    assert bound > high
    assert (made.low, made.high) == (low, high if improved else bound)


def test_what_never_happened_asks_for_images_of_all_samples() -> None:
    made = share([0] * 120, [0] * 120, 0.02, samples=2)
    assert made.more_images == 2 * (149 - 60)
    assert made.reason == (
        "no prompt changed: a rise by up to 0.049 cannot be excluded; 178 more images without a"
        " change would decide"
    )
    assert share([0] * 148, [0] * 148, 0.02).more_images == 1
    made = share([0] * 60, [0] * 60, 0.0)
    assert (made.verdict, made.more_images) == ("INCONCLUSIVE", None)
    assert made.reason == "no prompt changed: a rise by up to 0.049 cannot be excluded"


@pytest.mark.parametrize(("worse", "better"), [(2, 0), (0, 2), (2, 2)])
def test_few_changes_that_do_not_decide_are_counted_as_all_others(worse: int, better: int) -> None:
    rest = [0] * (60 - worse - better)
    made = share([1] * worse + [0] * better + rest, [0] * worse + [1] * better + rest, 0.03)
    assert made.verdict == "INCONCLUSIVE"
    assert made.reason.startswith(("the interval includes the margin", "the difference is as"))
    assert made.p is not None
    assert made.p >= Events(worse, better, 60).p(0.03)


def test_the_sign_test_and_the_exact_bound_at_their_ends() -> None:
    assert Events(0, 5, 60).is_better(1 / 32)
    assert Events(3, 0, 60).high(0.1) == pytest.approx(stats.beta.ppf(0.95, 4, 57))
    assert Events(0, 0, 60).more_prompts(0.5, 1 / 32) == 1
    assert Events(0, 0, 1).more_prompts(0.02, 0.05) == 148
