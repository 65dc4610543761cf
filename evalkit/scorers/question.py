"""A question about an image, how right answers to it may begin, and what a model answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.scorers.templates import NO, YES

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Question:
    """One question about the image of a prompt."""

    text: str
    answers: tuple[str, ...] = ("yes",)  # any of them is right
    number: int = 1  # among the questions of its prompt
    depends_on: tuple[int, ...] = ()  # numbers of the questions that must be right before it counts
    choices: tuple[str, ...] = ()
    category: str = ""  # what it is about: a skill, a kind of thing; "" if its file does not say
    first: bool = False  # the first row of a table, which compute_dpg_bench.py leaves out

    @property
    def forms(self) -> tuple[str, ...]:
        """How a model may begin a right answer, as GenEval 2 has it: evaluation.py, Soft-TIFA.

        Yes and no have four forms; others are taken as they are and capitalised, each also after a
        blank; a number from zero to ten also in the other notation.
        """
        return tuple(form for answer in self.answers for form in _forms(answer))


class Reading(NamedTuple):
    """What a model answered to a question, by the first token of its answer."""

    p: float  # the probability of the accepted answers
    said: str  # the most probable first token
    right: bool  # whether that is an accepted answer
    more: Mapping[str, float] = {}  # further details


def texts_of(answers: Iterable[str]) -> set[str]:
    """All forms of answers without blanks around them and in lower case."""
    return {form.strip().lower() for answer in answers for form in _forms(answer)}


def is_closed(answer: str) -> bool:
    """Whether an answer is yes, no or a number to ten: of few words, each of which is one token."""
    number = answer.isdecimal() and int(answer) < len(_NUMBERS)
    return number or answer.lower() in ("yes", "no", *_NUMBERS)


def _forms(answer: str) -> tuple[str, ...]:
    if answer.lower() in ("yes", "no"):
        return YES if answer.lower() == "yes" else NO
    found = [answer, answer.capitalize(), f" {answer}", f" {answer.capitalize()}"]
    if answer.lower() in _NUMBERS:
        digit = str(_NUMBERS.index(answer.lower()))
        found += [digit, f" {digit}"]
    elif answer.isdecimal() and int(answer) < len(_NUMBERS):
        found = [answer, f" {answer}", *_forms(_NUMBERS[int(answer)])[:4]]
    return tuple(found)
