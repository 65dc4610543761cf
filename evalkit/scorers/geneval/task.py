"""What a prompt of GenEval asks for, derived from its text: the metadata of its published list."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from evalkit.prompts.geneval import CLASSES, COLOURS, OPENING, POSITIONS, plural, with_article

_COUNTS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_PLACED = re.compile(f"(.+) ({'|'.join(POSITIONS)}) (.+)")


class Clause(NamedTuple):
    """Objects of a class that an image must have, or must not have."""

    name: str  # of the class
    count: int = 1  # pyright: ignore[reportIncompatibleMethodOverride]
    colour: str = ""
    position: str = ""  # of POSITIONS, relative to the objects of the first clause


class Task(NamedTuple):
    """All of `include` must hold, and none of `exclude`."""

    tag: str
    include: tuple[Clause, ...]
    exclude: tuple[Clause, ...] = ()

    def metadata(self, prompt: str) -> dict[str, Any]:
        """The line of GenEval's evaluation_metadata.jsonl."""
        found: dict[str, Any] = {"tag": self.tag, "include": [_as_json(c) for c in self.include]}
        if self.exclude:
            found["exclude"] = [_as_json(clause) for clause in self.exclude]
        return found | {"prompt": prompt}


def _as_json(clause: Clause) -> dict[str, Any]:
    found: dict[str, Any] = {"class": clause.name, "count": clause.count}
    if clause.colour:
        found["color"] = clause.colour
    if clause.position:
        found["position"] = [clause.position, 0]
    return found


@dataclass(frozen=True)
class Vocabulary:
    """The words in which tasks are read: those of GenEval, or of another detector."""

    classes: Collection[str] = CLASSES
    colours: Collection[str] = COLOURS

    def task(self, prompt: str) -> Task | None:
        """The task of a prompt in GenEval's grammar; None for any other prompt."""
        if not prompt.startswith(OPENING):
            return None
        text = prompt.removeprefix(OPENING)
        if one := self._thing(text):
            return Task("colors" if one.colour else "single_object", (one,))
        if placed := _PLACED.fullmatch(text):
            first, target = self._thing(placed[1]), self._thing(placed[3])
            if first and target and not first.colour and not target.colour and first != target:
                return Task("position", (target, first._replace(position=placed[2])))
        first, second = (self._thing(part) for part in (text.partition(" and ")[::2]))
        if first and second and first.name != second.name:
            if first.colour and second.colour and first.colour != second.colour:
                return Task("color_attr", (first, second))
            if not first.colour and not second.colour:
                return Task("two_object", (first, second))
        number, _, many = text.partition(" ")
        name = next((name for name in self.classes if plural(name) == many), "")
        if name and number in _COUNTS:
            count = _COUNTS.index(number) + 2
            return Task("counting", (Clause(name, count),), (Clause(name, count + 1),))
        return None

    def _thing(self, words: str) -> Clause | None:
        """ "a dog" or "a red dog"; None for anything else."""
        _, _, name = words.partition(" ")
        if words != with_article(name or "?"):
            return None
        if name in self.classes:  # "an orange" is no colour
            return Clause(name)
        colour, _, name = name.partition(" ")
        known = colour in self.colours and name in self.classes
        return Clause(name, colour=colour) if known else None
