"""The words of the bundled world: what the small models can read, and what a prompt names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from evalkit.scenes import captions
from evalkit.scenes.words import split_words
from evalkit.scenes.world import BACKGROUNDS, COLOUR_WORDS, COLOURS, COUNT_WORDS, RELATIONS

UNREAD = "unknownword"  # stands for every word that is not in the vocabulary


@lru_cache(maxsize=1)
def words() -> tuple[str, ...]:
    """Every word of the caption grammar, sorted: the vocabulary of the bundled models."""
    phrases = chain(
        captions.OPENINGS, captions.ADJECTIVES, captions.LARGE, captions.SMALL, captions.VERBS, captions.PLURAL_VERBS, captions.JOINS,
        chain.from_iterable(chain.from_iterable(captions.NOUNS.values())), chain.from_iterable(BACKGROUNDS.values()),
        chain.from_iterable(RELATIONS.values()), chain.from_iterable(COUNT_WORDS.values()),
        COLOURS, chain.from_iterable(COLOUR_WORDS.values()),
        ("a", "an", "the", "some"),
    )  # fmt: skip
    return tuple(sorted(set(chain.from_iterable(map(split_words, phrases)))))


@lru_cache(maxsize=1)
def pieces() -> tuple[str, ...]:
    """The subword pieces of the bundled models: every word, and the endings that lead from one word
    for a thing to another word for the same thing (skateboard and ##er, box and ##es), so that
    "skateboarders" is read although no caption says it.
    """
    endings: set[str] = set()
    for forms in captions.NOUNS.values():
        own = {word for form in chain.from_iterable(forms) for word in split_words(form)}
        endings |= {
            f"##{long[len(short) :]}"
            for short in own
            for long in own
            if long != short and long.startswith(short)
        }
    return (*words(), *sorted(endings))


class Coverage(NamedTuple):
    known: int
    total: int


def coverage(texts: Sequence[str]) -> list[Coverage]:
    """How many words of each text the bundled models can read, of how many."""
    known = set(words())
    return [
        Coverage(sum(word in known for word in split), len(split))
        for split in map(split_words, texts)
    ]


class Mentions(NamedTuple):
    nouns: tuple[str, ...]  # COCO categories and shapes, in the order of the text
    backgrounds: tuple[str, ...]


def mentions(text: str) -> Mentions:
    """The things and backgrounds of the world that a text names; longer names first ("hot dog" is
    no dog), and no thing inside the words for a background ("under the stars" names no star).
    """
    plain = " " + " ".join(split_words(text)) + " "
    places = tuple(
        name
        for name, phrases in BACKGROUNDS.items()
        if any(f" {phrase} " in plain for phrase in phrases)
    )
    left = plain
    for phrase in chain.from_iterable(BACKGROUNDS[name] for name in places):
        left = left.replace(f" {phrase} ", f" {'#' * len(phrase)} ")
    found: list[tuple[int, str]] = []
    for phrase, noun in _noun_phrases():
        while (place := left.find(f" {phrase} ")) >= 0:
            found.append((place, noun))
            left = left[: place + 1] + "#" * len(phrase) + left[place + 1 + len(phrase) :]
    return Mentions(tuple(dict.fromkeys(noun for _, noun in sorted(found))), places)


@lru_cache(maxsize=1)
def _noun_phrases() -> tuple[tuple[str, str], ...]:
    pairs = {
        (phrase, noun)
        for noun, forms in captions.NOUNS.items()
        for form in forms
        for phrase in form
    }
    return tuple(sorted(pairs, key=lambda pair: (-len(pair[0]), pair)))
