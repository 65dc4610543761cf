"""How carefully a rater answers, and who is excluded by the rule of the study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from evalkit.ratings.rating import NO, Rating, parts
from evalkit.ratings.study import Study


class Care(NamedTuple):
    """The answers of one rater to checks, and their speed."""

    rater: str
    answers: int  # to items, without checks
    attention: int  # attention checks that were answered
    attention_errors: int  # those with more wrong answers than right ones
    repeats: int  # answers to items that were asked twice
    equal_repeats: int  # those that are equal both times
    timed: int  # answers with a known time
    fast: int  # those in less time than the rule names
    reasons: tuple[str, ...]  # why the rater is excluded; () for a rater who is not

    @property
    def excluded(self) -> bool:
        return bool(self.reasons)


def care(study: Study, ratings: Sequence[Rating]) -> list[Care]:
    """The care of each rater of a study, by rater.

    ratings: the latest answers to the study.
    """
    found: dict[str, list[Rating]] = defaultdict(list)
    for rating in ratings:
        found[rating.rater].append(rating)
    return [_care(study, rater, found[rater]) for rater in sorted(found)]


def is_right(study: Study, rating: Rating) -> bool:
    """Whether the answer to an attention check is right.

    Of a pair, the model's own image must be preferred; of a scale, the answer must be in its lower
    half; of a yes/no question, it must be no.
    """
    if study.mode == "pairwise":
        return rating.response == parts(rating.item)[1]
    if study.mode == "checklist":
        return rating.response == NO
    [points] = [len(item.anchors) for item in study.questions if item.name == rating.question]
    return rating.response.isdecimal() and 2 * int(rating.response) <= points


def _care(study: Study, rater: str, ratings: Sequence[Rating]) -> Care:
    rule = study.exclude
    checks: dict[str, list[bool]] = defaultdict(list)
    for rating in ratings:
        if rating.check == "attention":
            checks[rating.item].append(is_right(study, rating))
    errors = sum(2 * sum(right) < len(right) for right in checks.values())
    main = {(item.item, item.question): item.response for item in ratings if not item.check}
    again = [
        main[item.item, item.question] == item.response
        for item in ratings
        if item.check == "repeat" and (item.item, item.question) in main
    ]
    times = [item.ms for item in ratings if item.ms]
    fast = sum(ms < rule.fast_ms for ms in times)
    reasons = []
    if errors > rule.attention_errors:
        reasons.append(f"{errors} of {len(checks)} attention checks are wrong")
    if again and sum(again) < rule.repeat_agreement * len(again):
        reasons.append(f"{sum(again)} of {len(again)} repeated answers are equal")
    if times and fast > rule.fast_share * len(times):
        reasons.append(f"{fast} of {len(times)} answers took less than {rule.fast_ms} ms")
    return Care(
        rater, len(main), len(checks), errors, len(again), sum(again), len(times), fast,
        tuple(reasons),
    )  # fmt: skip
