"""Which raters a study's rule excludes from the main result, and why.

The rule stands in the study file before the first vote. Results with all raters are stated beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.ratings.files import latest
from evalkit.ratings.rating import KNOWN_BAD, NO, Rating, parts
from evalkit.ratings.study import Exclusion, Study


class Excluded(NamedTuple):
    """A rater that the rule excludes, with the figures behind it."""

    rater: str
    reason: str


@dataclass(frozen=True)
class Checks:
    """What is known about the care of one rater."""

    rater: str
    answers: int  # that count, without repeats and attention checks
    attention: int  # attention checks that were answered
    attention_errors: int  # with another answer than the right one
    repeats: int  # items that were answered twice
    repeats_equal: int  # with the same answer both times
    timed: int  # answers whose time is known
    fast: int  # of these, in less than `fast_ms`

    def reasons(self, rule: Exclusion) -> list[str]:
        """Why the rule excludes this rater; [] if it does not."""
        found = []
        if self.attention_errors > rule.attention_errors:
            found.append(
                f"{self.attention_errors} of {self.attention} attention checks wrong"
                f" (more than {rule.attention_errors})"
            )
        if self.repeats and self.repeats_equal / self.repeats < rule.repeat_agreement:
            found.append(
                f"{self.repeats_equal} of {self.repeats} repeated items answered equally"
                f" (less than {rule.repeat_agreement:.0%})"
            )
        if self.timed and self.fast / self.timed > rule.fast_share:
            found.append(
                f"{self.fast} of {self.timed} answers in less than {rule.fast_ms} ms"
                f" (more than {rule.fast_share:.0%})"
            )
        return found


def checks_of(study: Study, ratings: Sequence[Rating]) -> list[Checks]:
    """The figures of each rater of the study, in the order of the raters' first answers."""
    own = latest([rating for rating in ratings if rating.study == study.study])
    by_rater: dict[str, list[Rating]] = {}
    for rating in own:
        by_rater.setdefault(rating.rater, []).append(rating)
    return [_checks(study, rater, found) for rater, found in by_rater.items()]


def excluded(study: Study, ratings: Sequence[Rating]) -> list[Excluded]:
    """The raters whom the study's rule excludes, each with all reasons and their figures."""
    return [
        Excluded(found.rater, "; ".join(reasons))
        for found in checks_of(study, ratings)
        if (reasons := found.reasons(study.exclude))
    ]


def without_excluded(study: Study, ratings: Sequence[Rating]) -> list[Rating]:
    """The answers of the study that count in its main result: no checks, no excluded raters."""
    gone = {found.rater for found in excluded(study, ratings)}
    return [
        rating
        for rating in latest([rating for rating in ratings if rating.study == study.study])
        if not rating.check and rating.rater not in gone
    ]


def _checks(study: Study, rater: str, ratings: Sequence[Rating]) -> Checks:
    first = {
        (rating.item, rating.question): rating.response for rating in ratings if not rating.check
    }
    again = [
        (first[rating.item, rating.question], rating.response)
        for rating in ratings
        if rating.check == "repeat" and (rating.item, rating.question) in first
    ]
    attention = [_is_right(study, rating) for rating in ratings if rating.check == "attention"]
    times = [rating.ms for rating in ratings if rating.ms > 0]
    return Checks(
        rater,
        answers=len(first),
        attention=len(attention),
        attention_errors=attention.count(False),
        repeats=len(again),
        repeats_equal=sum(one == other for one, other in again),
        timed=len(times),
        fast=sum(ms < study.exclude.fast_ms for ms in times),
    )


def _is_right(study: Study, rating: Rating) -> bool:
    """Whether the image that is known to be bad got the answer that it deserves."""
    if study.mode == "pairwise":
        labels = [label for label in parts(rating.item)[1:] if label != KNOWN_BAD]
        return rating.response in labels
    if study.mode == "checklist":
        return rating.response == NO
    points = {question.name: len(question.anchors) for question in study.questions}
    middle = (points.get(rating.question, 0) + 1) / 2
    return rating.response.isdecimal() and int(rating.response) < middle
