"""One answer of one rater: a row of `ratings/<rater>.csv`, whatever it was collected with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

RaterKind = Literal["human", "model"]  # votes of judges are never pooled with those of people
Check = Literal["", "repeat", "attention"]
TIE, BOTH_BAD, CANNOT_TELL, YES, NO = "tie", "both_bad", "cannot_tell", "yes", "no"
KNOWN_BAD = "known-bad"  # in an item, in place of a model: the image of an attention check


@dataclass(frozen=True)
class Rating:
    """One answer. The fields are the columns of the file, in this order.

    An answer is found by (study, kind, rater, item, question, check); a changed answer is a further
    row with the next revision, and the highest revision counts.
    """

    study: str
    rater: str  # a pseudonym: letters, digits, - and _
    kind: RaterKind
    item: str  # `pair(prompt, a, b)` or `single(prompt, model)`
    prompt_id: str
    model: str  # of a scale or a yes/no question; "" for a pair
    question: str  # its name in the study
    response: str  # a label, tie, both_bad; a number; yes, no; or cannot_tell
    shown_left: str = ""  # the label of the left image of a pair; "" where nothing is known
    position: int = 0  # in the order of this rater, from 1; 0 where nothing is known
    started_at: str = ""  # ISO 8601 in UTC: when both images were visible
    ms: int = 0  # from then to the answer; 0 where nothing is known
    revision: int = 0
    check: Check = ""


COLUMNS = tuple(field.name for field in dataclasses.fields(Rating))
NUMBERS = ("position", "ms", "revision")  # columns of whole numbers


def pair(prompt_id: str, model_a: str, model_b: str) -> str:
    """The item of a comparison: `prompt:a:b`, with `:` and `%` of the parts as %3A and %25."""
    return ":".join(map(_quoted, (prompt_id, model_a, model_b)))


def single(prompt_id: str, model: str) -> str:
    """The item of one image: `prompt:model`."""
    return ":".join(map(_quoted, (prompt_id, model)))


def parts(item: str) -> tuple[str, ...]:
    """The prompt id and the labels of an item: three parts for a pair, two for one image."""
    return tuple(unquote(part) for part in item.split(":"))


def _quoted(text: str) -> str:
    return text.replace("%", "%25").replace(":", "%3A")
