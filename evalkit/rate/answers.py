"""What the readers of file formats return: answers as another tool wrote them, not yet resolved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from evalkit.ratings.rating import Check
from evalkit.ratings.study import Study

if TYPE_CHECKING:
    from evalkit.rate.names import Names
    from evalkit.rate.source import Source


class Cell(NamedTuple):
    """A value and where it stands."""

    column: str
    text: str


NOTHING = Cell("", "")


class Clues(NamedTuple):
    """What a file says about one image."""

    prompt: Cell = NOTHING  # an id, a text, or the name of an image
    model: Cell = NOTHING  # a label, or a name that --rename translates
    image: Cell = NOTHING  # a file name, a path or a URL
    texts: tuple[Cell, ...] = ()  # what else must be of the same prompt, such as its text


class Problem(NamedTuple):
    """A value that is not imported, and why. A row of `ratings/rejected.csv`."""

    file: str
    line: str  # "7", or "item 7" of a JSON file
    column: str
    value: str
    reason: str


class Answer(NamedTuple):
    """One answer before prompt, models and response are found."""

    line: str
    rater: str
    question: str
    value: Cell
    left: Clues
    right: Clues | None = None  # None: the answer is about one image
    options: tuple[str, ...] = ()  # all answers that were possible, in order, where it is known
    sides_shown: bool = True  # whether `left` was shown on the left
    item_order: tuple[str, ...] = ()  # the labels in the order of the item of our own files
    exported: bool = False  # by us: the value of a scale is a point from 1, as in our files
    study: str = ""
    kind: str = ""  # human or model, where the file says so
    position: int = 0
    started_at: str = ""
    ms: int = 0
    revision: int = 0
    check: Check = ""


@dataclass
class Reading:
    """The content of one file."""

    answers: list[Answer] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)  # mistakes
    left_out: list[Problem] = field(default_factory=list)  # by rule: rejected, cancelled, gold
    notes: list[str] = field(default_factory=list)  # sentences for the user
    studies: list[Study] = field(default_factory=list)  # that the file defines
    excluded_raters: dict[str, str] = field(default_factory=dict)  # rater: reason; of all files
    good_raters: set[str] = field(default_factory=set)  # who are not excluded any more


class Format(NamedTuple):
    """A file format of ratings."""

    name: str
    about: str  # the columns or keys that it is recognized by
    recognizes: Callable[[Source], bool]
    read: Callable[[Source, Names], Reading]
