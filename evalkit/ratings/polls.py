"""The answers to one question of one study, ready for statistics.

Answers of people and of models are different polls; so are different studies. Nothing is pooled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from evalkit.ratings.exclusion import RaterCare, care, excluded
from evalkit.ratings.fitting import fitting
from evalkit.ratings.rating import (
    BOTH_BAD,
    CANNOT_TELL,
    NO,
    TIE,
    YES,
    RaterKind,
    Rating,
    parts,
)
from evalkit.ratings.study import Study
from evalkit.statistics import votes
from evalkit.statistics.votes import Votes

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Opinions(NamedTuple):
    """Answers about single images, one per rater and image: arrays [N] and their names."""

    values: Floats  # points of the scale, or 1 for yes and 0 for no
    models: Ints  # places in Poll.models
    prompts: Ints  # places in Poll.prompts
    raters: Ints  # places in Poll.raters


@dataclass(frozen=True)
class Poll:
    """One question of a study, answered by raters of one kind."""

    study: Study
    kind: RaterKind
    question: str
    ratings: tuple[Rating, ...]  # the last revisions, without those of checks
    care: tuple[RaterCare, ...]  # of all its raters
    named: Mapping[str, str] = field(default_factory=dict)  # rater of excluded.csv: reason

    @property
    def name(self) -> str:
        """Who was asked what: the `encoder` of the rows in metrics.json."""
        return f"{self.kind}:{self.question}"

    @property
    def models(self) -> tuple[str, ...]:
        return self.study.models

    @property
    def prompts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(rating.prompt_id for rating in self.ratings))

    @property
    def raters(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(rating.rater for rating in self.ratings))

    @property
    def excluded(self) -> dict[str, str]:
        """The raters who are excluded, by the rule of the study or by name, with all reasons."""
        by_rule = dict(excluded(self.study.exclude, self.care))
        reasons = {
            one.rater: (self.named.get(one.rater, ""), by_rule.get(one.rater, ""))
            for one in self.care
        }
        return {rater: "; ".join(filter(None, own)) for rater, own in reasons.items() if any(own)}

    @property
    def kept(self) -> Poll:
        """The poll without the excluded raters."""
        out = self.excluded
        ratings = tuple(rating for rating in self.ratings if rating.rater not in out)
        return replace(self, ratings=ratings)

    def count(self, response: str) -> int:
        return sum(rating.response == response for rating in self.ratings)

    def opinions(self) -> Opinions:
        """The answers about single images; those that could not be given are left out."""
        words = {YES: 1.0, NO: 0.0}
        told = [rating for rating in self.ratings if rating.response != CANNOT_TELL]
        values = [
            words[rating.response] if rating.response in words else float(rating.response)
            for rating in told
        ]
        models, prompts, raters = self._places(told, [rating.model for rating in told])
        return Opinions(np.array(values, np.float64), models, prompts, raters)

    @property
    def sides_known(self) -> bool:
        """Whether every answer about a pair says which image was shown left."""
        return all(rating.shown_left for rating in self.ratings)

    def votes(self) -> Votes:
        """The answers about pairs. The first model of an item is left where no side is known."""
        pairs = [parts(rating.item)[1:3] for rating in self.ratings]
        shown = [
            (pair[1], pair[0]) if rating.shown_left == pair[1] else pair
            for rating, pair in zip(self.ratings, pairs, strict=True)
        ]
        words = {TIE: votes.TIE, BOTH_BAD: votes.BOTH_BAD, CANNOT_TELL: votes.CANNOT_TELL}
        answers = [
            words.get(rating.response, votes.LEFT if rating.response == pair[0] else votes.RIGHT)
            for rating, pair in zip(self.ratings, shown, strict=True)
        ]
        left, prompts, raters = self._places(self.ratings, [pair[0] for pair in shown])
        right = [self.models.index(pair[1]) for pair in shown]
        return votes.checked(left, right, answers, prompts, raters)

    def _places(self, told: Sequence[Rating], models: Sequence[str]) -> tuple[Ints, Ints, Ints]:
        prompts = {name: place for place, name in enumerate(self.prompts)}
        raters = {name: place for place, name in enumerate(self.raters)}
        return (
            np.array([self.models.index(model) for model in models], np.int64),
            np.array([prompts[rating.prompt_id] for rating in told], np.int64),
            np.array([raters[rating.rater] for rating in told], np.int64),
        )


def polls(
    studies: Sequence[Study], ratings: Sequence[Rating], named: Mapping[str, str] | None = None
) -> list[Poll]:
    """One poll per study, kind of rater and question with answers, in this order.

    Args:
        ratings: the last revision of each answer. Those that do not fit their study are left out,
            with a warning.
        named: raters who are excluded by name, with the reasons.
    """
    made: list[Poll] = []
    ratings = fitting(studies, ratings)
    for study in studies:
        for kind in get_args(RaterKind):
            own = [r for r in ratings if r.study == study.study and r.kind == kind]
            raters = tuple(care(study, own))
            for question in study.questions:
                main = tuple(r for r in own if r.question == question.name and not r.check)
                if main:
                    made.append(Poll(study, kind, question.name, main, raters, named or {}))
    return made
