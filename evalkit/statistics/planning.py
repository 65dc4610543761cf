"""How many prompts, raters and votes a study needs, before it and during it.

Power is that of the two-way test of `clustered`, including what it costs to estimate the variances.
For values of normal distribution the mean squares of prompts, raters and the rest are chi-square
variables; the test is computed on draws of them: a simulation of 5,000 studies without single
votes. For votes this is the normal approximation. Simulated studies of a planned size have the
planned power within 3 points (tests/statistics/test_planning.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from evalkit.statistics.clustered import LIMIT, Estimate, Variances
from evalkit.statistics.intervals import LEAST_GROUPS
from evalkit.statistics.multiple import ALPHA

STUDIES = 5_000
MOST_PROMPTS = 20_000


class Plan(NamedTuple):
    """The size of a study that detects an effect."""

    prompts: int | None  # None: no number of prompts is enough, and `method` gives the reason
    raters: int
    votes: int | None  # or ratings of each model: prompts x raters of a prompt
    power: float  # the probability that the effect is found significant
    method: str


class More(NamedTuple):
    """What is missing for an interval of a certain width."""

    votes: int | None  # about; 0: narrow enough; None: `reason` says why
    prompts: int | None
    reason: str


def vote_variances(
    effect: float, tie_share: float, prompt_sd: float = 0.15, rater_sd: float = 0.05
) -> Variances:
    """Variances of the score of a vote (win 1, tie 0.5, loss 0) for a win rate of 0.5 + effect.

    prompt_sd, rater_sd: standard deviations of the true win rate between prompts and between
    raters. The defaults are assumptions; `clustered.variances` finds those of a pilot study.
    """
    if not 0 <= tie_share < 1 or abs(effect) > (1 - tie_share) / 2:
        raise ValueError("the tie share must be in [0, 1), the effect at most half of the rest")
    # At a win rate of one half: the interval of a win rate excludes one half by that variance.
    residual = (1 - tie_share) / 4 - prompt_sd**2 - rater_sd**2
    if residual < 0:
        raise ValueError("prompts and raters cannot vary more than the votes do")
    return Variances(prompt_sd**2, rater_sd**2, residual)


def power(
    effect: float,
    variances: Variances,
    prompts: int,
    raters: int,
    raters_per_prompt: int | None = None,
    alpha: float = ALPHA,
    seed: int = 0,
) -> float:
    """The probability that a difference from zero of this size is found significant.

    effect and variances in the same unit: a win rate minus 0.5 with `vote_variances`, or the
    difference of two models in points with the variances of the difference of their ratings.
    raters_per_prompt: how many of the raters rate each prompt; default all. 0 if there are too few
    ratings to separate prompts from raters.
    """
    each = raters if raters_per_prompt is None else raters_per_prompt
    if prompts < 2 or not 1 <= each <= raters:
        raise ValueError("at least two prompts, and 1 to `raters` raters of each are needed")
    number, random = prompts * each, np.random.RandomState(seed)
    times = (number - prompts) / max(1, raters - 1)  # of raters' variance in their mean square
    freedom = prompts - 1, raters - 1, number - prompts - raters + 1
    if each == 1:  # prompts cannot be separated from single ratings
        variances = Variances(0.0, variances.rater, variances.prompt + variances.residual)
        times, freedom = number / raters, (prompts - 1, raters - 1, number - raters)
    if raters > 1 and freedom[2] < 1:
        return 0.0
    of_prompts = each * variances.prompt + variances.residual
    of_raters = times * variances.rater + variances.residual
    share = number / raters / times if times else 0.0
    error = math.sqrt((of_prompts + number / raters * variances.rater) / number)
    found = effect + error * random.standard_normal(STUDIES)

    def mean_square(expected: float, place: int) -> np.ndarray:
        return expected * random.chisquare(freedom[place], STUDIES) / freedom[place]

    by_prompt, by_rater = mean_square(of_prompts, 0), np.zeros(STUDIES)
    if freedom[1] > 0:
        limit = freedom[1] / float(stats.chi2.ppf(LIMIT, freedom[1]))
        residual = mean_square(variances.residual, 2)
        by_rater = share * np.maximum(0, mean_square(of_raters, 1) * limit - residual)
    total = by_prompt + by_rater
    degrees = total**2 / (by_prompt**2 / freedom[0] + by_rater**2 / max(1, freedom[1]))
    reached = np.abs(found) / np.sqrt(total / number)
    return float((reached > stats.t.isf(alpha / 2, degrees)).mean())


def plan(
    effect: float,
    variances: Variances,
    raters: int,
    raters_per_prompt: int | None = None,
    wanted: float = 0.8,
    alpha: float = ALPHA,
    seed: int = 0,
) -> Plan:
    """The smallest number of prompts with the wanted power; arguments as for `power`."""
    if effect == 0:
        raise ValueError("an effect of zero cannot be detected")
    each = raters if raters_per_prompt is None else raters_per_prompt

    def reached(prompts: int) -> float:
        return power(effect, variances, prompts, raters, each, alpha, seed)

    most = reached(MOST_PROMPTS)
    if most < wanted:
        reason = (
            f"{MOST_PROMPTS} prompts are not enough with {raters} raters: "
            f"the power is {most:.2f}; more raters are needed"
        )
        return Plan(None, raters, None, most, reason)
    high = LEAST_GROUPS
    while reached(high) < wanted:
        high *= 2
    prompts = _smallest(lambda count: reached(count) >= wanted, max(LEAST_GROUPS, high // 2), high)
    method = f"two-way Student t at {alpha:g}, {STUDIES} draws of mean squares"
    return Plan(prompts, raters, prompts * each, reached(prompts), method)


def detectable(
    variances: Variances,
    prompts: int,
    raters: int,
    raters_per_prompt: int | None = None,
    wanted: float = 0.8,
    alpha: float = ALPHA,
    seed: int = 0,
) -> float:
    """The smallest effect that a study of this size finds with the wanted power."""
    unit = math.sqrt(sum(max(0.0, part) for part in variances))
    if unit == 0:
        raise ValueError("without variance, every effect is detected")

    def missing(effect: float) -> float:
        found = power(effect * unit, variances, prompts, raters, raters_per_prompt, alpha, seed)
        return found - wanted

    return unit * optimize.root_scalar(missing, bracket=(0, 1000), xtol=1e-4).root


def more_votes(found: Estimate, half_width: float) -> More:
    """About how many more votes make the interval as narrow as +- half_width.

    If the same raters vote on more prompts, as often on each: the part of prompts and single votes
    shrinks, that of raters stays.
    """
    low, high = found.interval.low, found.interval.high
    if low is None or high is None:
        return More(None, None, found.interval.method)
    if found.error is None or found.from_raters is None:
        return More(None, None, "not known: the votes do not vary yet")
    now, of_raters = (high - low) / 2, found.from_raters
    of_prompts = found.error**2 - of_raters

    def width(prompts: float) -> float:
        part = of_prompts * found.prompts / prompts
        shares = part**2 / (prompts - 1) + of_raters**2 / max(1, found.raters - 1)
        degrees = (part + of_raters) ** 2 / shares
        return float(stats.t.isf(ALPHA / 2, degrees)) * math.sqrt(part + of_raters)

    scale = now / width(found.prompts)
    if now <= half_width:
        return More(0, 0, "narrow enough")
    if scale * width(MOST_PROMPTS) > half_width:
        reason = (
            f"more prompts are not enough: {found.raters} raters differ too much from each other"
        )
        return More(None, None, reason)
    enough = _smallest(
        lambda prompts: scale * width(prompts) <= half_width, found.prompts, MOST_PROMPTS
    )
    more = enough - found.prompts
    votes = math.ceil(more * found.ratings / found.prompts)
    return More(votes, more, f"about {more} more prompts, each voted on as often as so far")


def _smallest(enough: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest number from low to high that is enough, by bisection; high is."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
