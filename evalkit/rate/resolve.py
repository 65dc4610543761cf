"""Answers of files -> ratings of a study: prompts, models, questions and responses are found."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from evalkit.core import EvalkitError
from evalkit.rate.answers import Answer, Cell, Problem
from evalkit.rate.names import ROUNDED, Names, Place, Unknown
from evalkit.rate.responses import USUAL, mode_of, number, point, preference, scale_of, yes_or_no
from evalkit.rate.scale_checks import Score, lonely, mixed_scales
from evalkit.ratings.files import rater_id
from evalkit.ratings.rating import KNOWN_BAD, RaterKind, Rating, pair, single
from evalkit.ratings.study import Mode, Question, Study
from evalkit.terminal import shorten


class Found(NamedTuple):
    """An answer whose images are found."""

    path: Path
    answer: Answer
    places: tuple[Place, ...]  # the left one and the right one, or the only one

    def problem(self, cell: Cell, reason: str) -> Problem:
        return Problem(self.path.name, self.answer.line, cell.column, cell.text[:200], reason)


class Made(NamedTuple):
    """A rating and where it comes from."""

    found: Found
    rating: Rating


@dataclass
class Resolved:
    """All ratings of an import."""

    made: list[Made] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    studies: list[Study] = field(default_factory=list)  # new and known ones
    notes: list[str] = field(default_factory=list)


def find_places(
    path: Path, answers: Sequence[Answer], names: Names
) -> tuple[list[Found], list[Problem]]:
    """The answers about images of the run, and the problems with the others."""
    found: list[Found] = []
    problems: list[Problem] = []
    for answer in answers:
        sides = [answer.left, *([answer.right] if answer.right else [])]
        try:
            if not answer.rater.strip():
                raise Unknown(Cell("rater", ""), "no rater is named")
            if ROUNDED.fullmatch(answer.rater.strip()):
                cell = Cell("rater", answer.rater.strip())
                raise Unknown(cell, "a spreadsheet rounded an id to this number")
            places = []
            for clues in sides:
                known_bad = places and clues.model.text == KNOWN_BAD
                if known_bad and KNOWN_BAD not in names.models:
                    places.append(Place(places[0].prompt, KNOWN_BAD))
                    continue
                place = names.find(clues)
                if place not in names.images:
                    reason = f"{place.model} has no image for the prompt {place.prompt!r}"
                    raise Unknown(clues.prompt, reason)
                places.append(place)
            if len(places) == 2 and places[0].prompt != places[1].prompt:
                raise Unknown(sides[1].image, "the two images are of different prompts")
            if len(places) == 2 and places[0] == places[1]:
                raise Unknown(sides[1].model, "both images are of one model")
            found.append(Found(path, answer, tuple(places)))
        except Unknown as error:
            cell = error.cell
            problems.append(
                Problem(path.name, answer.line, cell.column, cell.text[:200], error.reason)
            )
    return found, problems


def resolve(
    found: Sequence[Found],
    names: Names,
    known: dict[str, Study],
    name: str,
    kind: RaterKind,
    scale: tuple[int, int] | None,
) -> Resolved:
    """The ratings that the answers are.

    Args:
        known: the studies of the run and of the files, by name.
        name: of the study of answers that name none.
        kind: of raters whose kind no file states.
        scale: the lowest and highest value that was used; None finds it.

    Raises:
        EvalkitError: a scale is unknown or mixed.
    """
    resolved = Resolved()
    groups: dict[str, list[Found]] = defaultdict(list)
    for item in found:
        groups[item.answer.study or name].append(item)
    for study_name, group in groups.items():
        if study_name in known:
            if not scale:
                _refuse_shift(known[study_name], group)
            _rate(known[study_name], group, names, kind, scale, resolved)
            continue
        by_mode: dict[Mode, list[Found]] = defaultdict(list)
        modes = _modes(group)
        for item in group:
            by_mode[modes[_asked(item)]].append(item)
        for mode, part in by_mode.items():
            own = study_name if len(by_mode) == 1 else f"{study_name}-{mode}"
            study = known.get(own) or _new_study(own, mode, part, names, scale, resolved)
            _rate(study, part, names, kind, scale, resolved)
    return resolved


@functools.lru_cache(1_000)
def question_name(text: str) -> str:
    """The name of a question in a study: letters, digits, - and _."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text.strip()).strip("_")[:64] or "preference"


def _asked(item: Found) -> tuple[int, str]:
    return len(item.places), question_name(item.answer.question)


def _modes(group: Sequence[Found]) -> dict[tuple[int, str], Mode]:
    """The mode of each question, for pairs and for single images."""
    by_question: dict[tuple[int, str], list[Answer]] = defaultdict(list)
    for item in group:
        by_question[_asked(item)].append(item.answer)
    return {
        key: "pairwise" if key[0] == 2 else mode_of(answers) for key, answers in by_question.items()
    }


def _new_study(
    name: str,
    mode: Mode,
    group: Sequence[Found],
    names: Names,
    scale: tuple[int, int] | None,
    resolved: Resolved,
) -> Study:
    """The study that the answers belong to, where no file defines it."""
    used = {place.model for item in group for place in item.places} - {KNOWN_BAD}
    models = _ordered([label for label in names.models if label in used], group)
    rated = {place.prompt for item in group for place in item.places}
    complete = {
        prompt.id
        for prompt in names.prompts
        if all(Place(prompt.id, label) in names.images for label in models)
    }
    answers: dict[str, list[Answer]] = defaultdict(list)
    for item in group:
        answers[question_name(item.answer.question)].append(item.answer)
    if mode == "scale":
        if not scale:
            _refuse_mixture(group)
        questions = [scale_of(title, own, scale, _files(group)) for title, own in answers.items()]
        for question in questions:
            ends = f"{question.anchors[0]} to {question.anchors[-1]}"
            resolved.notes.append(f"The scale of {question.name} is {ends}.")
    else:
        questions = [Question(title, f"{title} (imported)") for title in answers]
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    used = rated | complete
    return Study(
        name,
        mode,
        tuple(models),
        tuple(prompt.id for prompt in names.prompts if prompt.id in used),
        tuple(questions),
        title=f"{name} (imported)",
        created_at=now,
    )


def _ordered(models: list[str], group: Sequence[Found]) -> list[str]:
    """The models in the order of the items of our own exports, else in that of the run."""
    before: dict[str, set[str]] = {label: set() for label in models}
    for item in group:
        order = item.answer.item_order
        if len(order) == 2 and set(order) <= before.keys():
            before[order[1]].add(order[0])
    try:
        return list(TopologicalSorter(before).static_order()) if any(before.values()) else models
    except CycleError:
        return models


def _files(group: Sequence[Found]) -> str:
    """The names of the files that the answers are in."""
    return shorten(", ".join(dict.fromkeys(item.path.name for item in group)), 100)


def _refuse_mixture(group: Sequence[Found]) -> None:
    """Raise EvalkitError where the values do not surely say which scale was used."""
    scores = [
        Score(item.path.name, item.answer.rater, item.answer.question, item.answer.line, value)
        for item in group
        if (value := number(item.answer.value.text)) is not None
    ]
    found = mixed_scales(scores)
    if found:
        raise EvalkitError(
            f"{found}.",
            "Correct them, or import them one after the other with --scale.",
            code="rate-27",
        )
    stated = {item.answer.question for item in group if item.answer.options}
    few = lonely([score for score in scores if score.question not in stated], USUAL)
    if few:
        without, all_of_it = few.scales
        raise EvalkitError(
            f"{few.sentence}.",
            f"State it: `--scale {without}` or `--scale {all_of_it}`.",
            code="rate-28",
        )


def _refuse_shift(study: Study, group: Sequence[Found]) -> None:
    """Raise EvalkitError for answers from 0 to 4 to a question from 1 to 5, and the like.

    Value by value only those of 0 would be wrong.
    """
    for question in study.questions if study.mode == "scale" else ():
        anchors = [number(anchor) for anchor in question.anchors]
        low = 1.0 if anchors[0] is None else anchors[0]
        values = [
            value
            for item in group
            if question_name(item.answer.question) == question.name and not item.answer.exported
            if (value := number(item.answer.value.text)) is not None
        ]
        if values and min(values) == low - 1 and max(values) < low + len(anchors) - 1:
            used = f"{low - 1:g}-{low + len(anchors) - 2:g}"
            raise EvalkitError(
                f"The answers to {question.name} in {_files(group)} are from {min(values):g} to"
                f" {max(values):g}; the scale of the study {study.study} is {low:g} to"
                f" {low + len(anchors) - 1:g}.",
                f"If they are on a scale of {used}, say so: `--scale {used}`.",
                code="rate-29",
            )


def _rate(
    study: Study,
    group: Sequence[Found],
    names: Names,
    kind: RaterKind,
    scale: tuple[int, int] | None,
    resolved: Resolved,
) -> None:
    """Add the ratings of a study, and the problems with answers that do not fit it."""
    if study not in resolved.studies:
        resolved.studies.append(study)
    prompts = set(study.prompts)
    for item in group:
        try:
            if item.places[0].prompt not in prompts:
                reason = f"{item.places[0].prompt} is not in the study {study.study}"
                raise Unknown(item.answer.left.prompt, reason)
            resolved.made.append(Made(item, _rating(study, item, names, kind, scale)))
        except Unknown as error:
            resolved.problems.append(item.problem(error.cell, error.reason))


def _rating(
    study: Study, item: Found, names: Names, kind: RaterKind, scale: tuple[int, int] | None
) -> Rating:
    answer, places = item.answer, item.places
    if (len(places) == 2) != (study.mode == "pairwise"):
        raise Unknown(answer.value, f"the study {study.study} has the mode {study.mode}")
    for place in places:
        if place.model not in (*study.models, KNOWN_BAD):
            raise Unknown(answer.left.model, f"{place.model} is not in the study {study.study}")
    by_name = {question.name: question for question in study.questions}
    question = by_name.get(question_name(answer.question))
    if not question:
        known = ", ".join(by_name)
        cell = Cell("question", answer.question)
        raise Unknown(cell, f"not a question of the study {study.study}; it has {known}")
    shown = ""
    if study.mode == "pairwise":
        order = (*study.models, KNOWN_BAD)
        labels = [place.model for place in places]
        first, second = sorted(labels, key=order.index)
        place_id, model = pair(places[0].prompt, first, second), ""
        response = preference(answer, labels[0], labels[1], names)
        shown = labels[0] if answer.sides_shown else ""
    else:
        place_id, model = single(places[0].prompt, places[0].model), places[0].model
        if study.mode == "checklist":
            response = yes_or_no(answer)
        else:
            if scale and scale[1] - scale[0] + 1 != len(question.anchors):
                points = len(question.anchors)
                reason = f"{question.name} has {points} points, not the scale of the import"
                raise Unknown(answer.value, reason)
            response = point(answer, question, scale[0] if scale else None)
    return Rating(
        study=study.study,
        rater=rater_id(answer.rater.strip()),
        kind=answer.kind or kind,  # pyright: ignore[reportArgumentType]
        item=place_id,
        prompt_id=places[0].prompt,
        model=model,
        question=question.name,
        response=response,
        shown_left=shown,
        position=answer.position,
        started_at=answer.started_at,
        ms=answer.ms,
        revision=answer.revision,
        check=answer.check,
    )
