"""What the admin page shows while a study runs: progress, care, agreement, precision; all blind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from evalkit.rate.serve.order import items_per_rater
from evalkit.rate.serve.rated_study import RatedStudy
from evalkit.ratings.exclusion import care, excluded
from evalkit.ratings.rating import BOTH_BAD, CANNOT_TELL, TIE, YES, Rating, parts
from evalkit.ratings.study import Question, Study

TARGET = 0.05  # half width of an interval, as a share of the range of the values


class Answers(NamedTuple):
    """The answers to one question as numbers, for `statistics`."""

    ratings: list[Rating]  # [N], without those that cannot tell
    raters: list[int]  # [N]
    prompts: list[int]  # [N]


def admin_facts(rated: RatedStudy) -> dict[str, Any]:
    """The content of the admin page: no name of a model, which are "Model 1", "Model 2", …"""
    study = rated.study
    ballots = dict(rated.ballots)
    ratings = [rating for ballot in ballots.values() for rating in ballot.ratings()]
    flags = dict(excluded(study.exclude, care(study, ratings)))
    raters = [
        {
            "rater": rater,
            **ballot.progress(),
            "flags": flags.get(rater, ""),
        }
        for rater, ballot in ballots.items()
    ]
    total = items_per_rater(study) + study.repeat_items + study.attention_items
    raters += [
        {"rater": rater, "done": 0, "total": total, "flags": ""}
        for rater in rated.invited
        if rater not in ballots
    ]
    counted = [r for r in ratings if not r.check and r.rater not in flags]
    names = sorted(study.models, key=lambda name: rated.secret.opaque("model", study.study, name))
    return {
        "title": study.title,
        "mode": study.mode,
        "raters": raters,
        "excluded": sum(bool(row["flags"]) for row in raters),
        "questions": [_question(study, item, counted, names) for item in study.questions],
    }


def _question(
    study: Study, question: Question, ratings: Sequence[Rating], names: Sequence[str]
) -> dict[str, Any]:
    """Agreement of the raters and precision of each model. Models are numbered as in `names`."""
    from evalkit.statistics.agreement import alpha  # imports torch

    asked = [rating for rating in ratings if rating.question == question.name]
    told = [rating for rating in asked if rating.response != CANNOT_TELL]
    answers = _numbered(told)
    scale = "ordinal" if study.mode == "scale" else "nominal"
    table = _table(study, answers) if told else [[]]
    found = alpha(table, scale, _clusters(answers))
    points = _points(study, question)
    target = TARGET * (points - 1 if study.mode == "scale" else 1)
    return {
        "question": question.text,
        "answers": len(asked),
        "cannot_tell": len(asked) - len(told),
        "alpha": _interval(found.value, found.interval),
        "target": target,
        "models": [
            {"model": f"Model {number}", **_precision(study, answers, name, target)}
            for number, name in enumerate(names, 1)
        ],
    }


def _precision(study: Study, answers: Answers, model: str, target: float) -> dict[str, Any]:
    """The mean score of a model with its interval, and how many more votes it needs."""
    from evalkit.statistics import clustered, planning

    rows = [
        (_score(study, rating, model), answers.prompts[at], answers.raters[at])
        for at, rating in enumerate(answers.ratings)
        if model in (rating.model, *parts(rating.item)[1:])
    ]
    values, prompts, raters = zip(*rows, strict=True) if rows else ((), (), ())
    found = clustered.mean(values, prompts, raters)
    more = planning.more_votes(found, target)
    return {
        **_interval(found.value, found.interval),
        "votes": len(rows),
        "more_votes": more.votes,
        "note": more.reason,
    }


def _score(study: Study, rating: Rating, model: str) -> float:
    if study.mode == "pairwise":
        return 0.5 if rating.response in (TIE, BOTH_BAD) else float(rating.response == model)
    return float(rating.response) if study.mode == "scale" else float(rating.response == YES)


def _points(study: Study, question: Question) -> int:
    return len(question.anchors) if study.mode == "scale" else 2


def _numbered(ratings: list[Rating]) -> Answers:
    raters = {name: at for at, name in enumerate(sorted({item.rater for item in ratings}))}
    prompts = {name: at for at, name in enumerate(sorted({item.prompt_id for item in ratings}))}
    return Answers(
        ratings,
        [raters[item.rater] for item in ratings],
        [prompts[item.prompt_id] for item in ratings],
    )


def _items(answers: Answers) -> list[str]:
    return sorted({rating.item for rating in answers.ratings})


def _table(study: Study, answers: Answers) -> list[list[float]]:
    """Answers [raters, items] as numbers, NaN where there is none."""
    items = {item: at for at, item in enumerate(_items(answers))}
    table = [[math.nan] * len(items) for _ in range(max(answers.raters, default=-1) + 1)]
    for rating, rater in zip(answers.ratings, answers.raters, strict=True):
        labels = (*parts(rating.item)[1:], TIE, BOTH_BAD)  # the same number for a in every pair
        number = (
            labels.index(rating.response)
            if study.mode == "pairwise"
            else _score(study, rating, rating.model)
        )
        table[rater][items[rating.item]] = number
    return table


def _clusters(answers: Answers) -> list[int]:
    """The prompt of each item."""
    prompts = {rating.item: at for rating, at in zip(answers.ratings, answers.prompts, strict=True)}
    return [prompts[item] for item in _items(answers)]


def _interval(value: float | None, interval: Any) -> dict[str, Any]:
    return {
        "value": value,
        "low": interval.low,
        "high": interval.high,
        "interval": interval.method,
    }
