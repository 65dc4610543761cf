"""Answers that do not fit their study, such as those of a file from another run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from evalkit.ratings.rating import BOTH_BAD, CANNOT_TELL, KNOWN_BAD, NO, TIE, YES, Rating, parts
from evalkit.ratings.study import Study

_SHOWN = 5
_logger = logging.getLogger("evalkit")


def fitting(studies: Sequence[Study], ratings: Sequence[Rating]) -> list[Rating]:
    """The answers that their study asks for; one warning counts and names the others."""
    checks = {study.study: _check_of(study) for study in studies}
    kept: list[Rating] = []
    wrong: list[str] = []
    for rating in ratings:
        check = checks.get(rating.study)
        reason = check(rating) if check else f"there is no study {rating.study}"
        if reason:
            wrong.append(f"{rating.rater} on {rating.item:.80}: {reason}")
        else:
            kept.append(rating)
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        _logger.warning(
            "Answers skipped because they do not fit their study: %d (%s%s).",
            *(len(wrong), "; ".join(wrong[:_SHOWN]), more),
        )
    return kept


def _check_of(study: Study) -> Callable[[Rating], str]:
    points = {
        question.name: {str(at) for at in range(1, len(question.anchors) + 1)}
        if study.mode == "scale"
        else {YES, NO}
        for question in study.questions
    }
    return partial(_misfit, study.mode == "pairwise", {*study.models}, {*study.prompts}, points)


def _misfit(
    pairwise: bool, models: set[str], prompts: set[str], points: dict[str, set[str]], one: Rating
) -> str:
    """Why an answer does not fit its study; "" if it does."""
    prompt, *labels = parts(one.item)
    if one.question not in points:
        return f"the study has no question {one.question}"
    if len(labels) != 1 + pairwise or len({*labels}) != len(labels) or prompt != one.prompt_id:
        return "not an item of the study"
    if prompt not in prompts:
        return f"the study has no prompt {prompt}"
    unknown = {*labels} - models - ({KNOWN_BAD} if one.check == "attention" else set())
    if unknown or (not pairwise and one.model != labels[0]):
        return f"the study has no model {', '.join(sorted(unknown)) or one.model}"
    if one.response not in ({*labels, TIE, BOTH_BAD} if pairwise else points[one.question]):
        return "" if one.response == CANNOT_TELL else f"{one.response!r:.80} is not an answer"
    return ""
