"""Checks of all ratings of an import together: reversed scales, answers that are there twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.rate.answers import Cell, Problem
from evalkit.rate.resolve import Made, Resolved
from evalkit.rate.scale_checks import Score, contradiction, reversed_sides, same_raters
from evalkit.ratings.files import key
from evalkit.ratings.rating import Rating

_DUPLICATE = "a second answer of this rater to the same question about the same item"


def flipped(
    resolved: Resolved, choice: str, problems: list[Problem], notes: list[str]
) -> list[Made]:
    """The ratings, with reversed scales kept or flipped as chosen; else they are problems."""
    points = {
        (study.study, question.name): len(question.anchors)
        for study in resolved.studies
        for question in study.questions
    }
    scores = [
        Score(
            made.found.path.name,
            made.rating.rater,
            f"{made.rating.study}/{made.rating.question}",
            made.rating.item,
            float(made.rating.response),
        )
        for made in resolved.made
        if made.rating.response.isdecimal() and not made.rating.check
    ]
    unclear = "" if choice == "keep" else contradiction(scores)
    if unclear:
        raise EvalkitError(
            f"{unclear}.",
            "Correct that file, or confirm both with `--reversed-scales keep`.",
            code="rate-1",
        )
    against = reversed_sides(scores)
    reasons = {
        side: f"the scale of {side[0]} seems reversed: its correlation with others is {value:.2f}"
        for side, value in sorted(against.items())
    }
    if choice != "refuse":
        done = "it is kept" if choice == "keep" else "it is flipped"
        notes += [f"{why[0].upper()}{why[1:]}; {done}." for why in reasons.values()]
    kept: list[Made] = []
    for made in resolved.made:
        question = f"{made.rating.study}/{made.rating.question}"
        sides = (made.rating.rater, made.found.path.name)
        why = next((reasons[side, question] for side in sides if (side, question) in reasons), "")
        if why and choice == "refuse":
            problems.append(made.found.problem(made.found.answer.value, f"{why}; keep or flip it"))
        elif why and choice == "flip":
            kept.append(made._replace(rating=_flip(made.rating, points)))
        else:
            kept.append(made)
    return kept


def _flip(rating: Rating, points: Mapping[tuple[str, str], int]) -> Rating:
    if not rating.response.isdecimal():
        return rating
    number = points[rating.study, rating.question]
    return replace(rating, response=str(number + 1 - int(rating.response)))


def without_duplicates(
    made: Sequence[Made],
    stored: Sequence[Rating],
    problems: list[Problem],
    left_out: list[Problem],
) -> tuple[dict[Path, list[Rating]], int]:
    """The new ratings of each file, and the number of those that the run has already."""
    known = {(*key(rating), rating.revision): rating for rating in stored}
    names = same_raters(item.found.answer.rater.strip() for item in made)
    fresh: dict[Path, list[Rating]] = defaultdict(list)
    seen: dict[tuple[object, ...], Made] = {}
    already = 0
    for item in made:
        rater = item.found.answer.rater.strip()
        place = (*key(item.rating), item.rating.revision)
        if rater in names:
            reason = f"the same rater as {names[rater]!r} but for case, blanks or leading zeros"
            problems.append(item.found.problem(Cell("rater", rater), reason))
        elif place in seen and seen[place].rating == item.rating:
            left_out.append(item.found.problem(item.found.answer.value, "the same row again"))
        elif place in seen:
            first = seen[place].found
            number = (
                f"line {first.answer.line}" if first.answer.line.isdecimal() else first.answer.line
            )
            reason = f"{_DUPLICATE}; the first is in {number} of {first.path.name}"
            problems.append(item.found.problem(item.found.answer.value, reason))
        elif place in known and known[place].response != item.rating.response:
            reason = f"the run has the answer {known[place].response!r} of this rater"
            problems.append(item.found.problem(item.found.answer.value, reason))
        else:
            seen[place] = item
            if place in known:
                already += 1
            else:
                fresh[item.found.path].append(item.rating)
    return fresh, already
