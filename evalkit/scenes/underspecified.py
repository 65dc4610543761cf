"""Underspecified captions: prompts as people write them, with words that the bundled models do not
know, and with less information than the scene has.
"""

from __future__ import annotations

import re
from functools import lru_cache
from random import Random
from typing import NamedTuple

from evalkit.scenes.captions import JOINS, colour_word, with_article
from evalkit.scenes.compose import Scene
from evalkit.scenes.tables import BACKGROUNDS, COLOUR_WORDS, COUNT_WORDS, NOUN_FORMS, RELATIONS
from evalkit.scenes.vocabulary import UNKNOWN_WORD, mentions, words

BARE = 0.3  # share of captions without filler words between their parts
TRIES = 20
ANY_COLOUR = "#"  # the place of a colour that the meaning omits; not a word to `mentions`
_ALL_FORMS = tuple(NOUN_FORMS.values())
# words that introduce a place or a second object, without a meaning of their own
_LINKS = (
    *(join.strip() for join in JOINS),
    *sorted({phrase.split()[0] for phrases in BACKGROUNDS.values() for phrase in phrases}),
)
_RELATIONS = tuple(RELATIONS.values())


class UnderspecifiedCaption(NamedTuple):
    text: str  # "unknownword kittens tennis unknownword"
    meaning: str  # the same, fully specified: "two kittens"


def underspecified_caption(scene: Scene, random: Random) -> UnderspecifiedCaption:
    """A caption that leaves much of a scene open, and the meaning that models are to learn.

    An unspecified plural means two objects; the first of two objects stands to the left of the
    other; a third object is not drawn. A caption leaves open only what these rules fill in
    correctly, so the meaning is true of the scene's image. Fillers between the parts of the caption
    are unknown words, and known words that have no meaning at their place. Beside a shape, unknown
    things and objects have colours, which the meaning omits: the shape keeps its own.
    """
    for _ in range(TRIES):
        candidate = _candidate(scene, random)
        stated, meant = mentions(candidate.text), mentions(candidate.meaning)
        first = stated.nouns[: max(2, len(meant.nouns))]
        if first == meant.nouns and stated.backgrounds == meant.backgrounds:
            # no filler happens to form a phrase with its neighbours
            return candidate._replace(text=_coloured(candidate.text, random))
    meaning = _candidate(scene, random).meaning
    return UnderspecifiedCaption(meaning, meaning)


def _coloured(text: str, random: Random) -> str:
    """A text with a colour in every place for one."""
    words = text.split()
    names = tuple(COLOUR_WORDS.values())
    return " ".join(
        random.choice(random.choice(names)) if word == ANY_COLOUR else word for word in words
    )


def _candidate(scene: Scene, random: Random) -> UnderspecifiedCaption:
    bare = random.random() < BARE
    shapes = any(item.colour for item in scene.items)
    coloured = shapes and not bare
    fillers = _fillers(colours=not shapes)
    nouns = [
        [colour_word(random, item) + form for form in random.choice(NOUN_FORMS[item.noun])]
        for item in scene.items[:2]
    ]
    if coloured and random.random() < 0.3:
        nouns = [
            forms if item.colour else [f"{ANY_COLOUR} {form}" for form in forms]
            for item, forms in zip(scene.items, nouns, strict=False)
        ]
    one, several = nouns[0]

    def filler(*counts: int) -> str:
        """Filler words; their number is one of the counts."""
        count = 0 if bare else random.choice(counts)
        return " ".join(
            UNKNOWN_WORD if random.random() < 0.6 else random.choice(fillers) for _ in range(count)
        )

    def aside() -> str:
        """Something unknown with a colour of its own: "on a white unknownword"."""
        links = [filler(1, 2), random.choice(_LINKS)]
        if scene.kind != "pair":  # whose relation must stay the only one
            links.append(random.choice(random.choice(_RELATIONS)))
        article, noun = random.choice(("", "a", "a", "the")), filler(1)
        return f"{random.choice(links)} {article} {filler(0, 0, 1)} {ANY_COLOUR} {noun}"

    def single(name: str) -> str:
        article = random.choice(("", "a", "a", "a", "the", "some"))
        phrase = f"{filler(0, 0, 0, 1, 2)} {name}".strip()
        return with_article(phrase) if article == "a" else f"{article} {phrase}"

    def plural(name: str) -> str:
        article = random.choice(("", "", "", "the", "some", "" if bare else f"{filler(1, 2)} of"))
        return f"{article} {filler(0, 0, 0, 1, 2)} {name}"

    if scene.kind == "single":
        meaning, text = with_article(one), single(one)
    elif scene.kind == "count" and (len(scene.items) != 2 or random.random() < 0.25):
        number = random.choice(COUNT_WORDS[len(scene.items)])
        meaning, text = f"{number} {several}", f"{number} {filler(0, 0, 1, 2)} {several}"
    elif scene.kind == "count":
        meaning, text = f"two {several}", plural(several)
    else:
        stated = scene.relation in ("above", "below") or random.random() < 0.25
        relation = random.choice(RELATIONS[scene.relation]) if stated else ""
        if not stated and scene.relation == "right":
            nouns.reverse()
        one, other = (with_article(singular) for singular, _ in nouns)
        meaning = f"{one} {relation or 'to the left of'} {other}"
        first, second = (
            plural(several) if random.random() < 0.2 else single(one) for one, several in nouns
        )
        join = random.choice(JOINS) if bare or random.random() < 0.4 else filler(1, 1, 2, 2, 3, 4)
        text = f"{first} {relation or join} {second}"
        if not relation and random.random() < 0.2:
            text += f" {filler(1, 2, 3)} {random.choice(random.choice(random.choice(_ALL_FORMS)))}"
    place = (
        random.choice(BACKGROUNDS[scene.background])
        if random.random() < (0.3 if bare else 0.5)
        else ""
    )
    before, after = filler(0, 0, 0, 1, 2, 3), filler(0, 0, 1, 2, 3, 4)
    if coloured:
        before += f" {aside()}" * (random.random() < 0.15)
        after = f"{aside()} " * (random.random() < 0.55) + after
        place = _with_colour(place) if random.random() < 0.25 else place
    text = (
        f"{place} {before} {text} {after}"
        if random.random() < 0.2
        else f"{before} {text} {after} {place} {filler(0, 0, 1, 2)}"
    )
    stated = [word for word in f"{meaning} {place}".split() if word != ANY_COLOUR]
    return UnderspecifiedCaption(" ".join(text.split()), " ".join(stated))


def _with_colour(place: str) -> str:
    """ "on the kitchen table" -> "on the # kitchen table"."""
    return re.sub(r"^(\w+ ((a|the) )?)", rf"\1{ANY_COLOUR} ", place)


@lru_cache(maxsize=2)
def _fillers(colours: bool) -> tuple[str, ...]:
    """Known words without a meaning of their own: no objects, no parts of numbers and relations,
    and colours only if the scene has no shape.
    """
    groups = [*COUNT_WORDS.values(), *RELATIONS.values()]
    if not colours:
        groups += COLOUR_WORDS.values()
    meaningful = {word for group in groups for phrase in group for word in phrase.split()}
    meaningful -= {"a", "of", "on", "the", "to"}
    return tuple(word for word in words() if word not in meaningful and not mentions(word).nouns)
