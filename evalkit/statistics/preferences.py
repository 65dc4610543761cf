"""What votes say without a model of strengths: win rates, tests and side bias.

A win is 1, a tie (or both bad) 0.5, a loss 0. Intervals hold for other prompts and other raters:
see `clustered`.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evalkit.statistics import clustered
from evalkit.statistics.clustered import Estimate
from evalkit.statistics.intervals import LEAST_GROUPS, wilson
from evalkit.statistics.multiple import Corrected, holm
from evalkit.statistics.votes import LEFT, RIGHT, Counts, Votes, counted, counts, select

SIGN_FLIPS = 10_000  # all of them up to 13 prompts: exact


class WinRates(NamedTuple):
    """Win rates of M models."""

    matrix: list[list[Estimate]]  # [M][M], of the row against the column; the diagonal is empty
    overall: list[Estimate]  # [M], against all others; each opponent counts as often as its votes
    counts: Counts


class PairTest(NamedTuple):
    """Whether one model is preferred to another."""

    first: int
    second: int
    win_rate: Estimate  # of the first, with the interval
    p: float | None  # two-sided, not corrected: the larger of the two tests; None: not tested
    p_permutation: float | None  # over prompts, for these raters only
    corrected: Corrected | None  # Holm, over all pairs
    method: str


class SideBias(NamedTuple):
    """Whether raters prefer a side."""

    left_share: Estimate  # of the decided votes
    p: float | None  # two-sided, for a share of one half; None: not tested


def win_rates(votes: Votes, models: int, level: float = 0.95) -> WinRates:
    """Win rate of each model against each other one, and against all."""
    found = counted(votes)
    empty = clustered.not_measured("not measured: no votes")
    matrix = [[empty] * models for _ in range(models)]
    for first, second in combinations(range(models), 2):
        matrix[first][second] = win_rate(found, first, second, level)
        matrix[second][first] = win_rate(found, second, first, level)
    overall = []
    for model in range(models):
        own = select(found, (found.left == model) | (found.right == model))
        overall.append(_rate(_scores(own, model), own, level))
    return WinRates(matrix, overall, counts(votes))


def win_rate(votes: Votes, first: int, second: int, level: float = 0.95) -> Estimate:
    """Win rate of the first model against the second one, 0 to 1."""
    own = _between(counted(votes), first, second)
    if not len(own.left):
        return clustered.not_measured("not measured: no votes")
    return _rate(_scores(own, first), own, level)


def paired_tests(votes: Votes, models: int, seed: int = 0, level: float = 0.95) -> list[PairTest]:
    """A test of each pair of models that was voted on, corrected together.

    Two tests, of which the larger p-value counts. The permutation test flips the signs of the means
    of prompts: it is exact for few prompts and assumes no distribution, but it holds for these
    raters only. Student's t of the two-way interval includes other raters, but is approximate.
    (Wilcoxon's test would leave out prompts with a mean of exactly one half, and does not test the
    win rate.)
    """
    found, tests = counted(votes), []
    for first, second in combinations(range(models), 2):
        rate = win_rate(found, first, second, level)
        if rate.value is None:
            continue
        own = _between(found, first, second)
        _, prompt = np.unique(own.prompts, return_inverse=True)
        sums = np.bincount(prompt, _scores(own, first) - 0.5).astype(np.float64)
        flipped = _sign_flip(sums, seed) if rate.interval.low is not None else None
        p = None if flipped is None else max(flipped, p_of_half(rate) or 0.0)
        exact = "exact" if 2 ** len(sums) <= SIGN_FLIPS else f"{SIGN_FLIPS} draws"
        method = f"larger p of sign flips of {len(sums)} prompts ({exact}) and two-way Student t"
        if p is None:
            method = rate.interval.method.replace("no interval", "not tested")
        tests.append(PairTest(first, second, rate, p, flipped, None, method))
    corrected = holm([test.p for test in tests])
    return [test._replace(corrected=one) for test, one in zip(tests, corrected, strict=True)]


def side_bias(votes: Votes, level: float = 0.95) -> SideBias:
    """Share of decided votes for the image shown left, and whether it differs from one half.

    The sides must be balanced within each pair of models: otherwise a good model that is shown
    left more often looks like a bias.
    """
    decided = select(votes, np.isin(votes.answer, (LEFT, RIGHT)))
    left = (decided.answer == LEFT).astype(np.float64)
    if not len(left):
        return SideBias(clustered.not_measured("not measured: no decided votes"), None)
    found = _rate(left, decided, level)
    return SideBias(found, p_of_half(found))


def _between(votes: Votes, first: int, second: int) -> Votes:
    one = (votes.left == first) & (votes.right == second)
    return select(votes, one | ((votes.left == second) & (votes.right == first)))


def _scores(votes: Votes, model: int) -> NDArray[np.float64]:
    """1 where the model is preferred, 0.5 for a tie, 0 where the other one is."""
    signs = np.where(votes.left == model, 1, -1)
    return (0.5 + 0.5 * votes.answer * signs).astype(np.float64)


def _rate(scores: NDArray[np.float64], votes: Votes, level: float) -> Estimate:
    """The mean of scores from 0 to 1, with Wilson's interval at an effective number of votes.

    That number gives the interval the width of Student's t (Korn and Graubard 1998), and its ends
    stay within 0 and 1.
    """
    found = clustered.mean(scores, votes.prompts, votes.raters, level)
    if found.value in (0.0, 1.0) and found.prompts >= LEAST_GROUPS:
        method = f"Wilson, {found.prompts} prompts, all votes equal; for these raters only"
        every = wilson(found.value * found.prompts, found.prompts, level, method)
        return found._replace(interval=every)
    if found.value is None or found.error is None or found.degrees is None:
        return found
    tail = (1 + level) / 2
    narrower = float(stats.norm.ppf(tail) / stats.t.ppf(tail, found.degrees))
    number = found.value * (1 - found.value) / found.error**2 * narrower**2
    method = found.interval.method.replace("Student t", "Wilson with Student t")
    interval = wilson(found.value * number, number, level, method)
    return found._replace(interval=interval)


def p_of_half(rate: Estimate) -> float | None:
    """The level at which the interval of `_rate` just reaches one half."""
    if rate.value is None or rate.error is None or rate.degrees is None:
        return None
    error = rate.error * 0.5 / math.sqrt(rate.value * (1 - rate.value))
    return 2 * float(stats.t.sf(abs(rate.value - 0.5) / error, rate.degrees))


def _sign_flip(sums: NDArray[np.float64], seed: int) -> float:
    """Two-sided p-value of sums of prompts [n]; scipy's permutation_test is 3 to 20 times slower.

    The sums are multiples of one half, so that equal totals are equal numbers.
    """
    number = len(sums)
    exact = 2**number <= SIGN_FLIPS
    if exact:
        flips = np.arange(2**number)[:, None] >> np.arange(number) & 1
    else:
        flips = np.random.default_rng(seed).integers(0, 2, (SIGN_FLIPS, number), np.int8)
    beyond = int((np.abs(sums.sum() - 2 * (flips @ sums)) >= abs(sums.sum())).sum())
    return beyond / len(flips) if exact else (beyond + 1) / (len(flips) + 1)
