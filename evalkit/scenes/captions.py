"""The caption grammar: every scene has many captions, all of them true."""

from __future__ import annotations

from random import Random

from evalkit.scenes.compose import Item, Scene
from evalkit.scenes.tables import BACKGROUNDS, COLOUR_WORDS, COUNT_WORDS, NOUN_FORMS, RELATIONS

OPENINGS = (
    *5 * ("",), "a photo of ", "a picture of ", "an image of ", "there is ", "a view of ",
    "a close up of ", "this is ",
)  # fmt: skip
ADJECTIVES = (
    *7 * ("",), "nice ", "cute ", "old ", "new ", "beautiful ", "single ", "lone ", "colorful ",
)  # fmt: skip
LARGE, SMALL = ("large ", "big ", "huge "), ("small ", "little ", "tiny ")
PARTICIPLES = (
    *5 * ("",), "sitting ", "standing ", "that is ", "seen ", "resting ", "placed ", "lying ",
    "parked ", "walking ",
)  # fmt: skip
PREDICATES = ("is ", "is sitting ", "is shown ", "is standing ", "is on display ")
PLURAL_VERBS = (
    *4 * ("",), "sitting ", "standing ", "are ", "are sitting ", "that are ", "lying ",
    "are shown ", "together ", "side by side ",
)  # fmt: skip
JOINS = (" and ", " next to ", " with ", " beside ", " near ")


def caption(scene: Scene, seed: int, *, complete: bool = False) -> str:
    """One caption of the scene, worded by the seed. Lower case, no full stop.

    complete: always state the background, and the relation of a pair; otherwise some captions omit
    them, as real captions do.
    """
    random = Random(seed ^ 0x5CE9E)
    place = (
        random.choice(BACKGROUNDS[scene.background]) if complete or random.random() < 0.85 else ""
    )
    first = scene.items[0]
    if scene.kind == "single":
        opening = random.choice(OPENINGS)
        # "there is a dog is sitting" is not a sentence
        verbs = PARTICIPLES if opening.endswith("is ") else PARTICIPLES + PREDICATES
        verb = random.choice(verbs) if place else ""
        text = f"{opening}{_noun_phrase(random, first, sized=True)} {verb}{place}"
    elif scene.kind == "count":
        number = random.choice(COUNT_WORDS[len(scene.items)])
        adjectives = random.choice(ADJECTIVES) + colour_word(random, first)
        noun = random.choice(NOUN_FORMS[first.noun])[1]
        verb = random.choice(PLURAL_VERBS) if place else ""
        text = f"{number} {adjectives}{noun} {verb}{place}"
    else:
        join = (
            f" {random.choice(RELATIONS[scene.relation])} "
            if complete or random.random() < 0.7
            else random.choice(JOINS)
        )
        second = scene.items[1]
        text = f"{_noun_phrase(random, first)}{join}{_noun_phrase(random, second)} {place}"
    return " ".join(text.split())


def colour_word(random: Random, item: Item) -> str:
    """A word for the colour of a shape, followed by a space; empty for an object."""
    return f"{random.choice(COLOUR_WORDS[item.colour])} " if item.colour else ""


def _noun_phrase(random: Random, item: Item, sized: bool = False) -> str:
    """One object with its article: "a cute small dog". Only single objects are called large or
    small: in other scenes all have the same size.
    """
    words = random.choice(ADJECTIVES)
    if sized and random.random() < 0.25:
        words = random.choice(LARGE if item.size == 48 else SMALL if item.size == 32 else ("",))
    singular, plural = random.choice(NOUN_FORMS[item.noun])
    words += colour_word(random, item) + singular
    if singular == plural and singular.endswith("s"):
        return words if random.random() < 0.5 else f"some {words}"
    return f"the {words}" if random.random() < 0.15 else with_article(words)


def with_article(words: str) -> str:
    """ "umbrella" -> "an umbrella"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
