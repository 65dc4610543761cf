"""The vocabulary of the bundled models, and which objects and backgrounds a prompt mentions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from evalkit.scenes import captions
from evalkit.scenes.tables import BACKGROUNDS, COLOUR_WORDS, COUNT_WORDS, NOUN_FORMS, RELATIONS
from evalkit.scenes.words import split_words

UNKNOWN_WORD = "unknownword"  # stands for every word that is not in the vocabulary


@lru_cache(maxsize=1)
def words() -> tuple[str, ...]:
    """Every word of the caption grammar, sorted: the vocabulary of the bundled models."""
    things = chain(
        chain.from_iterable(chain.from_iterable(NOUN_FORMS.values())), *BACKGROUNDS.values()
    )
    return tuple(sorted(between().union(chain.from_iterable(map(split_words, things)))))


@lru_cache(maxsize=1)
def between() -> frozenset[str]:
    """The words of the caption grammar beside its phrases for objects and backgrounds."""
    known = chain(
        captions.OPENINGS,
        captions.ADJECTIVES,
        captions.LARGE,
        captions.SMALL,
        captions.PARTICIPLES,
        captions.PREDICATES,
        captions.PLURAL_VERBS,
        captions.JOINS,
        *RELATIONS.values(),
        *COUNT_WORDS.values(),
        *COLOUR_WORDS.values(),
        ("a", "an", "the", "some"),
    )
    return frozenset(chain.from_iterable(map(split_words, known)))


@lru_cache(maxsize=1)
def pieces() -> tuple[str, ...]:
    """The subword pieces of the bundled models: every word, and every ending that turns a word for
    an object into another word for it (skateboard and ##er, box and ##es). They form words that no
    caption contains, such as "skateboarders".
    """
    endings: set[str] = set()
    for forms in NOUN_FORMS.values():
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
    """For each text, how many of its words are in the vocabulary of the bundled models."""
    known = set(words())
    return [
        Coverage(sum(word in known for word in split), len(split))
        for split in map(split_words, texts)
    ]


class Mentions(NamedTuple):
    nouns: tuple[str, ...]  # COCO categories and shapes, in the order of the text
    backgrounds: tuple[str, ...]


def mentions(text: str) -> Mentions:
    """The objects and backgrounds that a text mentions. The longest phrase wins ("hot dog" is not a
    dog), and a phrase for a background mentions no object ("under the stars" is not a star).
    """
    found = phrases(text)
    return Mentions(tuple(dict.fromkeys(one.noun for one in found.nouns)), found.backgrounds)


class NounPhrase(NamedTuple):
    place: int  # of its first character in Phrases.rest
    text: str
    noun: str


class Phrases(NamedTuple):
    nouns: tuple[NounPhrase, ...]  # in the order of the text
    backgrounds: tuple[str, ...]
    rest: str  # the words, one blank around each, with `#` in place of these phrases


def phrases(text: str) -> Phrases:
    """The phrases for objects and backgrounds in a text, and what is left of it."""
    plain = " " + " ".join(split_words(text)) + " "
    places = tuple(
        name
        for name, known in BACKGROUNDS.items()
        if any(f" {phrase} " in plain for phrase in known)
    )
    for phrase in chain.from_iterable(BACKGROUNDS[name] for name in places):
        plain = plain.replace(f" {phrase} ", f" {'#' * len(phrase)} ")
    found: list[NounPhrase] = []
    for phrase, noun in _noun_phrases():
        while (place := plain.find(f" {phrase} ")) >= 0:
            found.append(NounPhrase(place + 1, phrase, noun))
            plain = plain[: place + 1] + "#" * len(phrase) + plain[place + 1 + len(phrase) :]
    return Phrases(tuple(sorted(found)), places, plain)


@lru_cache(maxsize=1)
def _noun_phrases() -> tuple[tuple[str, str], ...]:
    """(phrase, noun), the longest phrase first."""
    pairs = {
        (phrase, noun) for noun, forms in NOUN_FORMS.items() for form in forms for phrase in form
    }
    return tuple(sorted(pairs, key=lambda pair: (-len(pair[0]), pair)))
