"""`evalkit rate plan`: how many prompts, raters and answers a study needs."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from evalkit.core import EvalkitError
from evalkit.ratings.exclusion import read_excluded
from evalkit.ratings.files import ratings_of, studies
from evalkit.ratings.polls import Opinions, Poll, polls
from evalkit.run_folder import Run
from evalkit.statistics import clustered, planning
from evalkit.statistics.clustered import Variances
from evalkit.statistics.multiple import ALPHA
from evalkit.statistics.votes import Votes, counted, select

# Of a difference of two opinions on a scale of five points: between prompts, between raters, rest.
_POINTS = (0.6, 0.2, 1.4)
_FEW_PROMPTS, _MOST_RATERS = 1_000, 100  # of a study that is proposed
_SHARES = (0.15, 0.05)  # of the win rate, between prompts and between raters


class StudySize(NamedTuple):
    """The size of a study that finds an effect."""

    mode: str
    effect: float  # in points of the scale, or of the win rate above one half
    models: int
    raters: int
    raters_per_prompt: int
    prompts: int | None  # None: no number of prompts is enough, and `method` gives the reason
    answers: int | None  # of all raters, on all models or pairs of models
    answers_per_rater: int | None
    power: float  # the probability that the effect is found significant
    method: str


def rate_plan(
    *,
    effect: float,
    mode: Literal["pairwise", "scale"] = "pairwise",
    models: int = 2,
    raters: int = 5,
    raters_per_prompt: int | None = None,
    power: float = 0.8,
    tie_share: float = 0.2,
    path: os.PathLike[str] | str | None = None,
) -> list[StudySize]:
    """The number of prompts and answers with which a study finds an effect.

    Args:
        effect: pairwise, the win rate above one half (0.1: one model is preferred in 60% of the
            decided and half of the tied answers); on a scale, the difference of two models in
            points.
        models: how many are compared; the tests of all pairs are corrected together.
        raters: how many take part.
        raters_per_prompt: how many of them rate each prompt; the default is all.
        power: the probability with which the effect is to be found.
        tie_share: the expected share of ties.
        path: a run with ratings: the variances between prompts and raters are taken from its
            answers of the same mode (a pilot study) instead of from experience.

    Raises:
        EvalkitError: a value is impossible, or the run has no ratings of this mode.
    """
    each = raters if raters_per_prompt is None else raters_per_prompt
    for name, good, expected in (
        ("effect", effect > 0 and math.isfinite(effect), "a number above 0"),
        ("models", models >= 2, "at least 2"),
        ("raters", raters >= 1, "at least 1"),
        ("raters_per_prompt", 1 <= each <= raters, f"1 to {raters}, the number of raters"),
        ("power", 0 < power < 1, "a number between 0 and 1"),
        ("tie_share", 0 <= tie_share < 1, "a number from 0 to below 1"),
        ("effect", mode == "scale" or effect < (1 - tie_share) / 2,
         f"less than {(1 - tie_share) / 2:g}, the largest with this share of ties"),
    ):  # fmt: skip
        if not good:
            given = {"effect": effect, "models": models, "raters": raters, "power": power,
                     "raters_per_prompt": raters_per_prompt, "tie_share": tie_share}  # fmt: skip
            raise EvalkitError(f"{name} is {given[name]}; expected {expected}.", code="rate-25")
    pairs = math.comb(models, 2)
    variances, source = _assumed(mode, effect, tie_share), "variances from experience"
    if path is not None:
        variances, source = _of_pilot(Run(path), mode)
    found = planning.plan(effect, variances, raters, each, power, ALPHA / pairs)
    prompts, method = found.prompts, found.method
    if prompts is None:
        method += f"; {_enough_raters(effect, variances, raters, raters_per_prompt, power, pairs)}"
    items = None if prompts is None else prompts * (pairs if mode == "pairwise" else models)
    answers = None if items is None else items * each
    return [
        StudySize(
            mode=mode,
            effect=effect,
            models=models,
            raters=raters,
            raters_per_prompt=each,
            prompts=prompts,
            answers=answers,
            answers_per_rater=None if answers is None else math.ceil(answers / raters),
            power=round(found.power, 4),
            method=f"{method}; {source}",
        )
    ]


def _enough_raters(
    effect: float,
    variances: Variances,
    raters: int,
    raters_per_prompt: int | None,
    power: float,
    pairs: int,
) -> str:
    """How many raters would do, with a number of prompts that a study can have if possible."""
    alpha = ALPHA / pairs
    for prompts in (_FEW_PROMPTS, planning.MOST_PROMPTS):
        for more in range(raters + 1, _MOST_RATERS + 1):
            each = raters_per_prompt or more
            if planning.power(effect, variances, prompts, more, each, alpha) >= power:
                enough = planning.plan(effect, variances, more, each, power, alpha).prompts
                return f"with {more} raters, {enough} prompts are enough"
    return f"{max(raters, _MOST_RATERS)} raters are not enough either"


def _assumed(mode: str, effect: float, tie_share: float) -> Variances:
    if mode == "scale":
        return Variances(*(deviation**2 for deviation in _POINTS))
    return planning.vote_variances(effect, tie_share, *_SHARES)


def _of_pilot(run: Run, mode: str) -> tuple[Variances, str]:
    """The variances of the answers of a run: the mean over its polls and pairs of models."""
    told = polls(studies(run), ratings_of(run), read_excluded(run))
    asked = [poll.kept for poll in told if poll.study.mode == mode]
    found = [one for poll in asked for one in _of_pairs(poll) if one is not None]
    if not found:
        raise EvalkitError(
            f"{run.path} has no {mode} ratings of at least two raters on the same prompts.",
            "Leave out --path to plan from experience.",
            code="rate-26",
        )
    parts = np.array(found).mean(axis=0)
    return Variances(*(max(0.0, float(part)) for part in parts)), f"variances of {run.path}"


def _of_pairs(poll: Poll) -> Sequence[Variances | None]:
    """The variances of each pair of models: of the score of a vote, or of a difference."""
    pairs = list(combinations(range(len(poll.models)), 2))
    if poll.study.mode == "pairwise":
        votes = counted(poll.votes())
        return [_of_votes(votes, a, b) for a, b in pairs]
    opinions = poll.opinions()
    return [_of_difference(opinions, a, b) for a, b in pairs]


def _of_votes(told: Votes, a: int, b: int) -> Variances | None:
    own = select(told, np.isin(told.left, (a, b)) & np.isin(told.right, (a, b)))
    scores = 0.5 + 0.5 * own.answer * np.where(own.left == a, 1, -1)
    return clustered.variances(scores, own.prompts, own.raters)


def _of_difference(told: Opinions, a: int, b: int) -> Variances | None:
    """Of the differences of two ratings by one rater on one prompt."""
    values = {
        (model, prompt, rater): value for value, model, prompt, rater in zip(*told, strict=True)
    }
    both = [
        (value - values[b, prompt, rater], prompt, rater)
        for (model, prompt, rater), value in values.items()
        if model == a and (b, prompt, rater) in values
    ]
    return clustered.variances(*zip(*both, strict=True)) if both else None
