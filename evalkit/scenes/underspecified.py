"""Loose captions: prompts as people write them, with words that the bundled models cannot read, and
less said than a scene has.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import NamedTuple

from evalkit.scenes.captions import JOINS, NOUNS, a, colour_of
from evalkit.scenes.compose import Scene
from evalkit.scenes.vocabulary import UNREAD, mentions, words
from evalkit.scenes.world import BACKGROUNDS, COLOUR_WORDS, COLOURS, COUNT_WORDS, RELATIONS

BARE = 0.3  # share of captions without other words between their parts
TRIES = 20
_ALL_FORMS = tuple(NOUNS.values())


class UnderspecifiedCaption(NamedTuple):
    text: str  # "unknownword kittens tennis unknownword"
    meaning: str  # the same with nothing left open: "two kittens"


def underspecified_caption(scene: Scene, random: Random) -> UnderspecifiedCaption:
    """A caption that leaves much of a scene open, and how it is to be read: several things are two,
    the first of two things stands on the left of the other, a third is not drawn. Only that is left
    open which is so in the scene, so the meaning is true of its picture. Between the parts of the
    caption are unknown words, and such as mean nothing where they stand.
    """
    loose = _attempt(scene, random)
    for _ in range(TRIES):
        said, meant = mentions(loose.text), mentions(loose.meaning)
        first = said.nouns[: max(2, len(meant.nouns))]
        if (
            first == meant.nouns and said.backgrounds == meant.backgrounds
        ):  # the other words happened to name nothing
            return loose
        loose = _attempt(scene, random)
    return UnderspecifiedCaption(loose.meaning, loose.meaning)


def _attempt(scene: Scene, random: Random) -> UnderspecifiedCaption:
    bare = random.random() < BARE
    fillers = _fillers(colours=not any(item.colour for item in scene.items))
    things = [
        [colour_of(random, item) + form for form in random.choice(NOUNS[item.noun])]
        for item in scene.items[:2]
    ]
    one, several = things[0]

    def other(*counts: int) -> str:
        """Other words, as many as one of the counts."""
        count = 0 if bare else random.choice(counts)
        return " ".join(
            UNREAD if random.random() < 0.6 else random.choice(fillers) for _ in range(count)
        )

    def single(name: str) -> str:
        article = random.choice(("", "a", "a", "a", "the", "some"))
        words = f"{other(0, 0, 0, 1, 2)} {name}".strip()
        return a(words) if article == "a" else f"{article} {words}"

    def plural(name: str) -> str:
        article = random.choice(("", "", "", "the", "some", "" if bare else f"{other(1, 2)} of"))
        return f"{article} {other(0, 0, 0, 1, 2)} {name}"

    if scene.kind == "single":
        meaning, text = a(one), single(one)
    elif scene.kind == "count" and (len(scene.items) != 2 or random.random() < 0.25):
        number = random.choice(COUNT_WORDS[len(scene.items)])
        meaning, text = f"{number} {several}", f"{number} {other(0, 0, 1, 2)} {several}"
    elif scene.kind == "count":
        meaning, text = f"two {several}", plural(several)
    else:
        told = scene.relation in ("above", "below") or random.random() < 0.25
        relation = random.choice(RELATIONS[scene.relation]) if told else ""
        if not told and scene.relation == "right":
            things.reverse()
        meaning = f"{a(things[0][0])} {relation or 'to the left of'} {a(things[1][0])}"
        first, second = (
            plural(thing[1]) if random.random() < 0.2 else single(thing[0]) for thing in things
        )
        join = random.choice(JOINS) if bare or random.random() < 0.4 else other(1, 1, 2, 2, 3, 4)
        text = f"{first} {relation or join} {second}"
        if not relation and random.random() < 0.2:
            text += f" {other(1, 2, 3)} {random.choice(random.choice(random.choice(_ALL_FORMS)))}"
    place = (
        random.choice(BACKGROUNDS[scene.background])
        if random.random() < (0.3 if bare else 0.5)
        else ""
    )
    before, after = other(0, 0, 0, 1, 2, 3), other(0, 0, 1, 2, 3, 4)
    text = (
        f"{place} {before} {text} {after}"
        if random.random() < 0.2
        else f"{before} {text} {after} {place} {other(0, 0, 1, 2)}"
    )
    return UnderspecifiedCaption(" ".join(text.split()), " ".join(f"{meaning} {place}".split()))


@lru_cache(maxsize=2)
def _fillers(colours: bool) -> tuple[str, ...]:
    """Words that mean nothing by themselves: no things, nothing of numbers and relations, and no
    colours where a shape has one.
    """
    phrases = [phrase for group in (*COUNT_WORDS.values(), *RELATIONS.values()) for phrase in group]
    if not colours:
        phrases += [*COLOURS, *(word for group in COLOUR_WORDS.values() for word in group)]
    binding = {word for phrase in phrases for word in phrase.split()} - {
        "a",
        "of",
        "on",
        "the",
        "to",
    }
    return tuple(word for word in words() if word not in binding and not mentions(word).nouns)
