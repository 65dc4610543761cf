"""Krippendorff's alpha: the package, planted disagreement, and what is undefined."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evalkit.statistics import agreement

SCALES = ("nominal", "ordinal", "interval")


def drawn(random, raters: int = 4, units: int = 40, noise: float = 0.8) -> np.ndarray:
    truth = random.standard_normal(units)
    return np.clip(np.round(3 + truth + noise * random.standard_normal((raters, units))), 1, 5)


@pytest.mark.parametrize("scale", SCALES)
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), missing=st.floats(0, 0.7), values=st.integers(2, 30))
def test_alpha_is_that_of_krippendorff(scale, seed, missing, values):
    random = np.random.RandomState(seed)
    ratings = random.randint(0, values, (4, 12)).astype(float)
    ratings[random.rand(4, 12) < missing] = np.nan
    paired = ratings[:, (~np.isnan(ratings)).sum(axis=0) > 1]
    assume(len(np.unique(paired[~np.isnan(paired)])) > 1)
    found = agreement.alpha(ratings, scale)
    expected = krippendorff.alpha(ratings, level_of_measurement=scale)
    assert found.value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("scale", SCALES)
def test_the_interval_is_the_jackknife_of_krippendorff(scale):
    ratings = drawn(np.random.RandomState(0), units=15)
    ratings[0, :4] = np.nan
    found = agreement.alpha(ratings, scale)
    without = [
        krippendorff.alpha(np.delete(ratings, unit, axis=1), level_of_measurement=scale)
        for unit in range(15)
    ]
    error = (14 / 15 * ((without - np.mean(without)) ** 2).sum()) ** 0.5
    assert (found.interval.high - found.interval.low) / 2 == pytest.approx(
        2.1447866879169273 * error, rel=1e-6
    )


def test_intervals_cover_alpha():
    truth = krippendorff.alpha(
        drawn(np.random.RandomState(1), units=50_000), level_of_measurement="ordinal"
    )
    found = [agreement.alpha(drawn(np.random.RandomState(2 + k)), "ordinal") for k in range(300)]
    hits = np.mean([one.interval.low <= truth <= one.interval.high for one in found])
    assert 0.92 <= hits <= 0.99


def test_units_of_one_prompt_are_left_out_together():
    ratings = np.repeat(drawn(np.random.RandomState(3), units=20), 3, axis=1)
    alone = agreement.alpha(ratings, "interval").interval
    together = agreement.alpha(ratings, "interval", np.repeat(np.arange(20), 3)).interval
    assert together.high - together.low > 1.4 * (alone.high - alone.low)


@pytest.mark.parametrize("scale", SCALES)
def test_a_planted_disagreement_of_two_raters_is_found(scale):
    """Two of five raters always answer the opposite of each other."""
    random = np.random.RandomState(4)
    truth = random.randint(0, 2, 40).astype(float)
    ratings = np.stack([np.where(random.rand(40) < 0.1, 1 - truth, truth) for _ in range(5)])
    ratings[4] = 1 - ratings[1]
    found = agreement.pairs_of_raters(ratings, scale)
    worst = found[0]
    assert (worst.first, worst.second, worst.units, worst.equal) == (1, 4, 40, 0)
    assert worst.alpha.value < -0.9
    assert worst.opposed
    for pair in found:
        both = ratings[[pair.first, pair.second]]
        expected = krippendorff.alpha(both, level_of_measurement=scale)
        assert pair.alpha.value == pytest.approx(expected, abs=1e-9)
        interval = agreement.alpha(both, scale).interval
        assert pair.alpha.interval == interval or pair.alpha.value >= 0
    assert {pair.opposed for pair in found if 4 not in (pair.first, pair.second)} == {False}


def test_only_pairs_that_agree_less_than_chance_have_an_interval():
    random = np.random.RandomState(6)
    ratings = drawn(random, raters=3, units=30)
    ratings[2] = np.where(random.rand(30) < 0.2, ratings[0], 6 - ratings[0])
    ratings = np.concatenate([ratings, np.full((2, 30), 3.0)])
    found = agreement.pairs_of_raters(ratings, "ordinal")
    values = [pair.alpha.value for pair in found]
    assert values[-1] is None  # all ratings of the two are equal
    assert (found[-1].first, found[-1].second, found[-1].equal) == (3, 4, 30)
    assert values[:-1] == sorted(values[:-1])
    assert values[0] < 0 < values[-2]
    for pair in found[:-1]:
        assert (pair.alpha.interval.low is not None) == (pair.alpha.value < 0)
        assert (pair.alpha.units, pair.alpha.raters) == (30, 2)
    assert found[-2].alpha.interval.method == "no interval: not below 0"


def test_a_strict_rater_has_a_shift():
    ratings = drawn(np.random.RandomState(5), raters=2, noise=0.1)
    ratings[1] = ratings[0] - 1
    [pair] = agreement.pairs_of_raters(ratings, "interval")
    assert (pair.shift, pair.equal) == (-1.0, 0)
    [pair] = agreement.pairs_of_raters(ratings, "nominal")
    assert pair.shift is None


def test_perfect_agreement_is_one_without_an_interval():
    ratings = np.tile([1.0, 2, 3, 4, 5, 1], (3, 1))
    found = agreement.alpha(ratings, "ordinal")
    assert (found.value, found.interval.low) == (1.0, None)


def test_no_interval_ends_above_perfect_agreement():
    """One unit of ten differs: symmetric about the value, the interval would end at 1.1."""
    ratings = np.array([[0.0, 1] * 5, [0.0, 1] * 4 + [0, 0]])
    found = agreement.alpha(ratings, "nominal")
    assert found.value - found.interval.low > 1 - found.value > 0
    assert found.interval.high == 1.0


def test_undefined_is_neither_agreement_nor_disagreement():
    equal = agreement.alpha(np.full((3, 9), 4.0), "ordinal")
    assert (equal.value, equal.interval.method) == (None, "undefined: all ratings are equal")
    for ratings in (np.eye(4) + np.where(np.eye(4) > 0, 0, np.nan), np.ones((1, 5)), [[], []]):
        found = agreement.alpha(ratings, "nominal")
        assert (found.value, found.units, found.raters) == (None, 0, 0)
        assert found.interval.method == "undefined: no unit has two ratings"
    few = agreement.alpha([[1, 2, 3], [1, 2, 2]], "nominal")
    assert few.value is not None
    assert few.interval.low is None
    with pytest.raises(ValueError, match=r"\[raters, units\]"):
        agreement.alpha([1, 2, 3], "nominal")
