"""What a prompt asks for, of what images of the bundled data set can show."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from evalkit.scenes.compose import Item, Scene, SceneKind
from evalkit.scenes.tables import COLOUR_OF, COUNT_WORDS, NOUN_FORMS, RELATIONS, SHAPES
from evalkit.scenes.vocabulary import NounPhrase, phrases
from evalkit.scenes.words import split_words

_ARTICLES = ("a", "an", "one")
# Of apostrophes, `split_words` leaves "isnt". The caption grammar has none of these words.
_EXCLUDING = {
    *("no", "not", "without", "none", "never", "nothing", "nobody", "neither", "nor", "except"),
    *("excluding", "lacks", "lacking", "missing", "absent", "cannot", "cant", "isnt", "arent"),
    *("wasnt", "werent", "doesnt", "dont", "didnt", "hasnt", "havent"),
}


class Asked(NamedTuple):
    """The scene that a prompt asks for; what `questions` does not name is left open.

    The items have no places, and the colour of a shape where the prompt names it. The questions are
    among noun, colour, count, relation and background, as `scorers/verdicts.py` answers them.
    """

    scene: Scene
    questions: tuple[str, ...]
    loose_colours: bool = False  # whether it names colours of other things than shapes


def exclusion(text: str) -> str:
    """The first word by which a text says what is not there; "" without one.

    Such a text asks for the opposite of its nouns, so nothing is asked of it.
    """
    return next((word for word in split_words(text) if word in _EXCLUDING), "")


def asked(text: str) -> Asked:
    """What a text asks for, in the words of the caption grammar.

    A number, an article or a singular says how many of an object are asked for. Colours are those
    of shapes; a relation is that of the only two objects, from one to the next; the background is
    the only one that is named.
    """
    found = phrases(text)
    nouns, colours = list(found.nouns), dict[int, str]()
    for one, after in pairwise(found.nouns):  # "orange" is a colour before a shape, else a fruit
        adjacent = after.place == one.place + len(one.text) + 1
        if adjacent and one.text in COLOUR_OF and after.noun in SHAPES:
            nouns.remove(one)
            colours[after.place] = COLOUR_OF[one.text]
    items: dict[str, Item] = {}
    counts: dict[str, int | None] = {}
    end, between, used = 0, "", 0
    for one in nouns:
        between = found.rest[end : one.place]
        end = one.place + len(one.text)
        word = between.split()[-1] if between.split() else ""
        colour = colours.get(one.place) or COLOUR_OF.get(word, "")
        used += one.noun in SHAPES and word in COLOUR_OF
        counts[one.noun] = None if one.noun in items else _count(between, one)
        items.setdefault(one.noun, Item(one.noun, colour if one.noun in SHAPES else "", 0, 0, 0))
    every = tuple(item for noun, item in items.items() for _ in range(counts[noun] or 1))
    pair = len(every) == len(nouns) == 2
    stated = {name for name, words in RELATIONS.items() if any(f" {w} " in between for w in words)}
    relation = stated.pop() if pair and len(stated) == 1 else ""
    background = found.backgrounds[0] if len(found.backgrounds) == 1 else ""
    questions = {
        "noun": bool(items),
        "colour": any(item.colour for item in every),
        "count": bool(items) and None not in counts.values(),
        "relation": bool(relation),
        "background": bool(background),
    }
    kind: SceneKind = "pair" if pair else "count" if len(every) > 1 else "single"
    scene = Scene(kind, every, relation, background, "", 0)
    loose = sum(word in COLOUR_OF for word in found.rest.split()) > used
    return Asked(scene, tuple(name for name, holds in questions.items() if holds), loose)


def _count(before: str, noun: NounPhrase) -> int | None:
    """How many are asked for, by the words before the phrase and its form; None: it is open."""
    singular, plural = (
        any(noun.text == form[number] for form in NOUN_FORMS[noun.noun]) for number in (0, 1)
    )
    if plural:
        for count, words in COUNT_WORDS.items():
            for word in words:
                _, number, after = before.rpartition(f" {word} ")
                if number and len(after.split()) <= 2:  # "two cute red circles"
                    return count
    if singular and (not plural or set(_ARTICLES) & set(before.split()[-3:])):
        return 1
    return None
