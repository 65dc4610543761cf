"""Strengths: choix, planted truth, invariances, and models that the votes do not identify."""

from __future__ import annotations

import math

import choix
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from evalkit.statistics import bradley_terry
from evalkit.statistics.votes import BOTH_BAD, CANNOT_TELL, LEFT, RIGHT, TIE, Votes, checked, select

TRUE = np.array([0.9, 0.2, -0.3, -0.8])


def drawn(random, strengths=TRUE, prompts=20, raters=4, side=0.3, tie=-0.5) -> Votes:
    """Every rater votes on each pair of models for every prompt."""
    models = len(strengths)
    pairs = np.array([(a, b) for a in range(models) for b in range(a)])
    cell = np.repeat(np.arange(prompts * raters), len(pairs))
    shown = np.tile(pairs, (prompts * raters, 1))
    swapped = random.rand(len(cell)) < 0.5
    left = np.where(swapped, shown[:, 1], shown[:, 0])
    right = np.where(swapped, shown[:, 0], shown[:, 1])
    half = (strengths[left] - strengths[right] + side) / 2
    weights = np.exp(np.stack([half, -half, np.full(len(cell), tie)]))
    ends = np.cumsum(weights / weights.sum(axis=0), axis=0)
    kind = (random.rand(len(cell)) > ends[:2]).sum(axis=0)
    answer = np.array([LEFT, RIGHT, TIE])[kind]
    return checked(left, right, answer, cell // raters, cell % raters)


def values(found: bradley_terry.Strengths) -> np.ndarray:
    return np.array([one.value for one in found.models])


def test_without_ties_side_and_prior_it_is_choix():
    for seed in range(5):
        votes = drawn(np.random.RandomState(seed), side=0.0, tie=-math.inf, prompts=10)
        won = [
            (left, right) if answer == LEFT else (right, left)
            for left, right, answer in zip(votes.left, votes.right, votes.answer, strict=True)
        ]
        found = bradley_terry.strengths(votes, 4, side=False, prior=math.inf)
        assert found.tie is None
        expected = choix.ilsr_pairwise(4, won, alpha=0)
        assert values(found) == pytest.approx(expected - expected.mean(), abs=1e-6)


@pytest.mark.parametrize("prior", [10.0, 0.1])
def test_with_ties_and_side_it_is_the_maximum_of_the_written_likelihood(prior: float):
    votes = drawn(np.random.RandomState(1))

    def negative(x: np.ndarray) -> float:
        half = (x[votes.left] - x[votes.right] + x[4]) / 2
        logits = np.stack([half, -half, np.full(len(half), x[5])])
        chosen = np.select([votes.answer == LEFT, votes.answer == RIGHT], [half, -half], x[5])
        return float(-(chosen - np.log(np.exp(logits).sum(axis=0))).sum() + (x @ x) / 2 / prior**2)

    expected = optimize.minimize(negative, np.zeros(6), method="BFGS", options={"gtol": 1e-4}).x
    found = bradley_terry.strengths(votes, 4, prior=prior)
    assert values(found) == pytest.approx(expected[:4], abs=1e-4)
    assert (found.side.value, found.tie) == pytest.approx(tuple(expected[4:]), abs=1e-4)


def test_planted_strengths_side_and_ties_are_found_with_intervals_that_cover():
    hits, ties = [], []
    for seed in range(60):
        found = bradley_terry.strengths(drawn(np.random.RandomState(seed)), 4)
        truth = [*TRUE, 0.3]
        ties.append(found.tie)
        hits.append(
            [
                one.interval.low <= true <= one.interval.high
                for one, true in zip([*found.models, found.side], truth, strict=True)
            ]
        )
    assert 0.92 <= np.mean(hits) <= 0.995
    assert np.mean(ties) == pytest.approx(-0.5, abs=0.05)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_names_and_sides_do_not_matter(seed):
    random = np.random.RandomState(seed)
    votes = drawn(random, prompts=5)
    names = random.permutation(4)
    first = bradley_terry.strengths(votes, 4)
    renamed = votes._replace(left=names[votes.left], right=names[votes.right])
    assert values(bradley_terry.strengths(renamed, 4))[names] == pytest.approx(
        values(first), abs=1e-6
    )
    mirrored = Votes(votes.right, votes.left, -votes.answer, votes.prompts, votes.raters)
    second = bradley_terry.strengths(mirrored, 4)
    assert values(second) == pytest.approx(values(first), abs=1e-6)
    assert second.side.value == pytest.approx(-first.side.value, abs=1e-6)
    assert values(first).sum() == pytest.approx(0, abs=1e-9)


def test_ties_draw_two_models_together():
    left, right = np.zeros(40, dtype=int), np.ones(40, dtype=int)
    answer = np.array([LEFT] * 6 + [RIGHT] * 2 + [TIE] * 32)
    votes = checked(left, right, answer, np.arange(40) % 10, np.arange(40) % 4)
    with_ties = bradley_terry.strengths(votes, 2, side=False)
    without = bradley_terry.strengths(select(votes, answer != TIE), 2, side=False)
    assert 0 < values(with_ties)[0] <= values(without)[0] + 1e-6
    even = votes._replace(answer=np.array([LEFT] * 4 + [RIGHT] * 4 + [TIE] * 32))
    assert values(bradley_terry.strengths(even, 2, side=False)) == pytest.approx([0, 0], abs=1e-9)


def test_both_bad_is_a_tie_and_cannot_tell_is_left_out():
    votes = drawn(np.random.RandomState(2))
    tied = np.flatnonzero(votes.answer == TIE)
    answer = votes.answer.copy()
    answer[tied[:10]] = BOTH_BAD
    found = bradley_terry.strengths(votes._replace(answer=answer), 4)
    assert values(found) == pytest.approx(values(bradley_terry.strengths(votes, 4)))
    assert (found.counts.tie, found.counts.both_bad) == (len(tied) - 10, 10)
    answer[tied[:10]] = CANNOT_TELL
    found = bradley_terry.strengths(votes._replace(answer=answer), 4)
    kept = select(votes, answer != CANNOT_TELL)
    assert values(found) == pytest.approx(values(bradley_terry.strengths(kept, 4)))
    assert found.counts.cannot_tell == 10


def test_an_undefeated_model_is_named_and_the_others_are_estimated():
    """Elsewhere all scores collapse to one number, without a warning."""
    votes = drawn(np.random.RandomState(3), tie=-math.inf)
    lost = ((votes.left == 0) & (votes.answer == RIGHT)) | (
        (votes.right == 0) & (votes.answer == LEFT)
    )
    found = bradley_terry.strengths(select(votes, ~lost), 4)
    assert found.identified.tolist() == [False, True, True, True]
    assert found.notes[0] == "undefeated: strength is not identified"
    best = found.models[0]
    assert (best.interval.low, best.error, best.p()) == (None, None, None)
    assert best.value > max(values(found)[1:])
    assert values(found)[1:].sum() == pytest.approx(0, abs=1e-9)
    others = select(votes, (votes.left > 0) & (votes.right > 0))
    alone = bradley_terry.strengths(others, 4)
    assert values(found)[1:] == pytest.approx(values(alone)[1:], abs=0.05)
    assert alone.notes[0] == "not compared with the other models: strength is not identified"
    with pytest.raises(ValueError, match="without a prior"):
        bradley_terry.strengths(others, 4, prior=math.inf)


def test_two_models_of_which_one_always_wins():
    votes = checked([0] * 12, [1] * 12, [LEFT] * 12, np.arange(12), np.zeros(12))
    found = bradley_terry.strengths(votes, 2)
    assert [note.split(":")[0] for note in found.notes] == ["undefeated", "winless"]
    assert all(one.interval.low is None for one in found.models)
    assert found.models[0].value > found.models[1].value


def test_a_chain_and_two_islands():
    chain = checked([0, 1] * 6, [1, 2] * 6, [LEFT] * 12, np.arange(12), np.zeros(12))
    notes = [note.split(":")[0] for note in bradley_terry.strengths(chain, 3).notes]
    assert notes == ["undefeated", "no model both wins and loses against it", "winless"]
    answer = np.tile([LEFT, LEFT, RIGHT, RIGHT], 6)
    islands = checked([0, 2] * 12, [1, 3] * 12, answer, np.arange(24), np.zeros(24))
    found = bradley_terry.strengths(islands, 4)
    assert found.identified.sum() == 2
    assert sum("not compared" in (note or "") for note in found.notes) == 2


def test_the_side_is_not_estimated_where_it_cannot_be():
    """Model 0 is always shown left, so its strength is also its place."""
    random = np.random.RandomState(4)
    answer = np.where(random.rand(60) < 0.7, LEFT, RIGHT)
    votes = checked([0] * 60, [1] * 60, answer, np.arange(60) % 20, np.arange(60) // 20)
    every_left = checked(
        np.arange(60) % 2, 1 - np.arange(60) % 2, [LEFT] * 60, np.arange(60) % 20, votes.raters
    )
    for found in (bradley_terry.strengths(every_left, 2), bradley_terry.strengths(votes, 2)):
        assert found.side.value is None
        assert "do not separate" in found.side.interval.method
    assert values(bradley_terry.strengths(every_left, 2)) == pytest.approx([0, 0], abs=1e-9)


def test_nothing_to_measure():
    nothing = bradley_terry.strengths(checked([], [], [], [], []), 3)
    assert [one.value for one in nothing.models] == [None] * 3
    ties = bradley_terry.strengths(checked([0] * 9, [1] * 9, [TIE] * 9, range(9), [0] * 9), 2)
    assert ties.models[0].value is None
    assert ties.models[0].interval.method == "not measured: every vote is a tie"
    one_prompt = bradley_terry.strengths(drawn(np.random.RandomState(5), prompts=1), 4)
    assert all(one.interval.low is None for one in one_prompt.models)
    for wrong in (([0], [0], [LEFT]), ([0], [1], [7]), ([0, 1], [1], [TIE])):
        with pytest.raises(ValueError, match=r"vote|answer|arrays"):
            checked(*wrong, [0], [0])


def test_the_bootstrap_has_the_spread_of_the_standard_errors():
    votes = drawn(np.random.RandomState(6), prompts=40, raters=5)
    found = bradley_terry.strengths(votes, 4)
    draws = bradley_terry.bootstrap(votes, 4, votes.prompts, draws=150)
    assert draws.sum(axis=1) == pytest.approx(np.zeros(150), abs=1e-9)
    errors = [one.error for one in found.models]
    assert draws.std(axis=0) == pytest.approx(errors, rel=0.5)
    again = bradley_terry.bootstrap(votes, 4, votes.prompts, draws=150)
    assert np.array_equal(draws, again)
    assert not np.array_equal(draws, bradley_terry.bootstrap(votes, 4, votes.raters, draws=150))


def test_elo_points():
    assert bradley_terry.elo(math.log(10)) == pytest.approx(400)
