"""What was answered: words and numbers of other tools -> the responses of our files."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence

from evalkit.core import EvalkitError
from evalkit.rate.answers import Answer, Cell, Clues
from evalkit.rate.names import Names, Unknown, plain
from evalkit.ratings.rating import BOTH_BAD, CANNOT_TELL, NO, TIE, YES
from evalkit.ratings.study import SCALES, Mode, Question

_WORDS = {
    **dict.fromkeys(("left", "a", "1", "first", "model a", "image a", "image 1"), "left"),
    **dict.fromkeys(("left image", "option a", "left is better"), "left"),
    **dict.fromkeys(("right", "b", "2", "second", "model b", "image b", "image 2"), "right"),
    **dict.fromkeys(("right image", "option b", "right is better"), "right"),
    **dict.fromkeys(("tie", "equal", "same", "draw", "both", "both good", "no preference"), TIE),
    **dict.fromkeys(("tie (bothbad)", "bothbad", "both bad", "both are bad", "neither"), BOTH_BAD),
}
_CANNOT_TELL = ("cannot tell", "can't tell", "can not tell", "don't know", "unsure", "not sure")
_YES_NO = {"yes": YES, "true": YES, "y": YES, "no": NO, "false": NO, "n": NO}
_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}([./-]\d{1,4})?|\d{1,2}[. -]+[A-Za-z]{3,9}\.?([ -]\d+)?")
# Ranges of values that say which scale was used; of others, an end may not have been chosen.
USUAL = ((1, 5), (0, 4), (1, 7), (1, 10), (0, 10))


@functools.lru_cache(10_000)
def _word(text: str) -> str:
    return plain(text.replace("_", " ")).casefold()


def preference(answer: Answer, left: str, right: str, names: Names) -> str:
    """The response to a pair: a label, tie, both_bad or cannot_tell. Raises Unknown."""
    cell = answer.value
    if _word(cell.text) in _CANNOT_TELL:
        return CANNOT_TELL
    label = cell.text if cell.text in (left, right) else ""
    side = {"left": left, "right": right}.get(found := _WORDS.get(_word(cell.text), ""), found)
    if label and side and side != label and not answer.exported:
        raise Unknown(cell, f"it may be the model {label!r} or the {found} image; use labels")
    if label or side:
        return label or side
    try:
        known = names.model(cell)
    except Unknown:
        known = _model_of_image(cell, names)
    if known in (left, right):
        return known
    raise Unknown(cell, f"expected {left}, {right}, left, right, tie, both_bad or cannot_tell")


def _model_of_image(cell: Cell, names: Names) -> str:
    try:
        return names.find(Clues(image=cell)).model
    except Unknown:
        return ""


def mode_of(answers: Iterable[Answer]) -> Mode:
    """The mode of questions about one image, by the answers to them."""
    words = {_word(answer.value.text) for answer in answers}
    return "checklist" if words <= {*_YES_NO, *_CANNOT_TELL} else "scale"


def yes_or_no(answer: Answer) -> str:
    """The response to a checklist. Raises Unknown."""
    word = _word(answer.value.text)
    if word in _CANNOT_TELL:
        return CANNOT_TELL
    if word not in _YES_NO:
        raise Unknown(answer.value, "expected yes, no or cannot_tell")
    return _YES_NO[word]


@functools.lru_cache(10_000)
def number(text: str) -> float | None:
    """A number with a decimal point or comma; None for anything else."""
    found = re.fullmatch(r"[+-]?\d{1,9}([.,]\d+)?", "".join(text.split()))
    return float(found[0].replace(",", ".")) if found else None


def point(answer: Answer, question: Question, low: float | None) -> str:
    """The response on a scale: a point from 1, as text. Raises Unknown.

    Args:
        low: the value that was used for the first point; None where the anchors say it.
    """
    text, anchors = answer.value.text, question.anchors
    if _word(text) in _CANNOT_TELL:
        return CANNOT_TELL
    value = number(text)
    numbers = [number(anchor) for anchor in anchors]
    if answer.exported or low is not None or None in numbers:
        first = 1 if answer.exported or low is None else low
        between = (first, first + len(anchors) - 1)
        expected = f"{first:g} to {between[1]:g}"
        found = None if value is None else value - first
        at = int(found) if found is not None and found.is_integer() else -1
    else:
        expected, between = ", ".join(anchors), [each for each in numbers if each is not None]
        at = numbers.index(value) if value in numbers else -1
    if value is None:
        words = [_word(anchor) for anchor in anchors]
        if _word(text) in words:
            return str(words.index(_word(text)) + 1)
        if _DATE.fullmatch(text):
            raise Unknown(answer.value, "a date, which a spreadsheet may have made of a number")
        raise Unknown(answer.value, f"expected a number from {expected}, or the words of the scale")
    if not 0 <= at < len(anchors):
        inside = min(between) < value < max(between)
        where = "between two points" if inside else "outside of the scale"
        raise Unknown(answer.value, f"{where}; expected {expected}")
    return str(at + 1)


def scale_of(
    name: str, answers: Sequence[Answer], scale: tuple[int, int] | None, files: str
) -> Question:
    """The question of a scale that no study file defines yet, with anchors as the data have them.

    Args:
        files: where the answers are, for messages.

    Raises EvalkitError where the values do not say which scale was used.
    """
    text = f"{name} (imported)"
    options = {answer.options for answer in answers}
    numbers = [value for answer in answers if (value := number(answer.value.text)) is not None]
    if scale:
        return Question(name, text, tuple(map(str, range(scale[0], scale[1] + 1))))
    known = next(iter(options)) if len(options) == 1 else ()
    if known and None not in map(number, known):
        ordered = sorted(known, key=lambda option: number(option) or 0.0)
        return Question(name, text, tuple(ordered))
    if not numbers:
        words = {_word(answer.value.text) for answer in answers} - set(_CANNOT_TELL)
        for worded in sorted(SCALES, key=lambda item: item.name != name):
            if words <= set(map(_word, worded.anchors)):
                return Question(name, text, worded.anchors)
        found = sorted({answer.value.text for answer in answers})[:5]
        raise EvalkitError(
            f"The answers to {name} in {files} are texts, such as"
            f" {', '.join(map(repr, found))}, that are not the words of a known scale.",
            f"If they are comments, leave them out: `--ignore {name}`. Else write a study file with"
            " these words as anchors, and name it with --study.",
            code="rate-30",
        )
    low, high = min(numbers), max(numbers)
    if (low, high) not in USUAL:
        raise EvalkitError(
            f"The answers to {name} in {files} are from {low:g} to {high:g}, which does not say"
            " which scale was used.",
            "State it, for example `--scale 1-5`.",
            code="rate-31",
        )
    return Question(name, text, tuple(map(str, range(int(low), int(high) + 1))))


def parse_scale(text: str) -> tuple[int, int] | None:
    """`1-5` as (1, 5); None for "". Raises EvalkitError."""
    if not text:
        return None
    found = re.fullmatch(r"\s*(\d{1,3})\s*[-\u2013]\s*(\d{1,3})\s*", text)
    if not found or not 1 <= int(found[2]) - int(found[1]) <= 100:
        raise EvalkitError(
            f"The scale is {text!r}; expected its lowest and its highest value.",
            "For example `--scale 1-5`.",
            code="rate-32",
        )
    return int(found[1]), int(found[2])
