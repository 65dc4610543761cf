"""The contents of the bundled data set, read from `tables.toml`: objects, shapes, colours,
backgrounds, and the words for them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

Forms = tuple[tuple[str, str], ...]  # (singular, plural) of every word, the usual word first
Colour = tuple[int, int, int]  # sRGB, 0..255


class Object(NamedTuple):
    name: str  # the COCO category
    emoji: str  # the name of the icon in the four emoji sets
    words: Forms


def _forms(words: Sequence[str]) -> Forms:
    return tuple(
        (word.split("/")[0], word.split("/")[1] if "/" in word else f"{word}s") for word in words
    )


def _colour(code: str) -> Colour:
    red, green, blue = bytes.fromhex(code.removeprefix("#"))
    return red, green, blue


_TABLES = tomllib.loads(Path(__file__).with_name("tables.toml").read_text(encoding="utf-8"))

OBJECTS = tuple(
    Object(name, emoji, _forms(words)) for name, (emoji, *words) in _TABLES["objects"].items()
)
SHAPES = {name: _forms(words) for name, words in _TABLES["shapes"].items()}
NOUN_FORMS: dict[str, Forms] = {thing.name: thing.words for thing in OBJECTS} | SHAPES

COLOURS = {name: _colour(code) for name, (code, *_) in _TABLES["colours"].items()}
COLOUR_WORDS = {name: tuple(words) or (name,) for name, (_, *words) in _TABLES["colours"].items()}
COLOUR_OF = {word: name for name, words in COLOUR_WORDS.items() for word in words}

BACKGROUNDS: dict[str, tuple[str, ...]] = {  # name -> the phrases that ask for it
    name: tuple(entry["phrases"]) for name, entry in _TABLES["backgrounds"].items()
}
TINTS = {  # name -> two variants of the colours (above, below the horizon)
    name: [(_colour(above), _colour(below)) for above, below in entry["tints"]]
    for name, entry in _TABLES["backgrounds"].items()
}
HIDDEN_COLOURS: dict[str, list[str]] = {  # name -> the colours that do not stand out before it
    name: entry["hidden"] for name, entry in _TABLES["backgrounds"].items()
}

RELATIONS: dict[str, tuple[str, ...]] = {
    name: tuple(phrases) for name, phrases in _TABLES["relations"].items()
}
COUNT_WORDS: dict[int, tuple[str, ...]] = {
    int(count): tuple(words) for count, words in _TABLES["counts"].items()
}
STYLES: dict[str, str] = _TABLES["styles"]  # our name of the art style -> its icon set
