"""The caption grammar: a scene becomes one of many English sentences that are all true of it."""

from __future__ import annotations

from random import Random

from evalkit.scenes.compose import Item, Scene
from evalkit.scenes.world import BACKGROUNDS, COLOUR_WORDS, COUNT_WORDS, OBJECTS, RELATIONS, SHAPES

NOUNS: dict[str, tuple[tuple[str, str], ...]] = {
    thing.name: thing.words for thing in OBJECTS
} | SHAPES
OPENINGS = (
    "",
    "",
    "",
    "",
    "",
    "a photo of ",
    "a picture of ",
    "an image of ",
    "there is ",
    "a view of ",
    "a close up of ",
    "this is ",
)
ADJECTIVES = (
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "nice ",
    "cute ",
    "old ",
    "new ",
    "beautiful ",
    "single ",
    "lone ",
    "colorful ",
)
LARGE, SMALL = ("large ", "big ", "huge "), ("small ", "little ", "tiny ")
VERBS = (  # the last five are predicates: not after "there is"
    "", "", "", "", "", "sitting ", "standing ", "that is ", "seen ", "resting ", "placed ", "lying ", "parked ", "walking ",
    "is ", "is sitting ", "is shown ", "is standing ", "is on display ",
)  # fmt: skip
PLURAL_VERBS = (
    "",
    "",
    "",
    "",
    "sitting ",
    "standing ",
    "are ",
    "are sitting ",
    "that are ",
    "lying ",
    "are shown ",
    "together ",
    "side by side ",
)
JOINS = (" and ", " next to ", " with ", " beside ", " near ")


def caption(scene: Scene, seed: int, *, complete: bool = False) -> str:
    """One caption of the scene; another seed says it in other words. Lower case, no full stop.

    complete: always name the background, and the relation of a pair; else some captions leave them
    open, as people do.
    """
    random = Random(seed ^ 0x5CE9E)
    place = (
        random.choice(BACKGROUNDS[scene.background]) if complete or random.random() < 0.85 else ""
    )
    first = scene.items[0]
    if scene.kind == "single":
        opening = random.choice(OPENINGS)
        verb = random.choice(VERBS[:14] if opening.endswith("is ") else VERBS) if place else ""
        text = f"{opening}{_one(random, first, sized=True)} {verb}{place}"
    elif scene.kind == "count":
        number = random.choice(COUNT_WORDS[len(scene.items)])
        words = (
            number
            + " "
            + random.choice(ADJECTIVES)
            + colour_of(random, first)
            + random.choice(NOUNS[first.noun])[1]
        )
        text = f"{words} {random.choice(PLURAL_VERBS) if place else ''}{place}"
    else:
        join = (
            f" {random.choice(RELATIONS[scene.relation])} "
            if complete or random.random() < 0.7
            else random.choice(JOINS)
        )
        text = f"{_one(random, first)}{join}{_one(random, scene.items[1])} {place}"
    return " ".join(text.split())


def colour_of(random: Random, item: Item) -> str:
    """A word for the colour of a shape, with the space behind it; nothing for an object."""
    return f"{random.choice(COLOUR_WORDS.get(item.colour, (item.colour,)))} " if item.colour else ""


def _one(random: Random, item: Item, sized: bool = False) -> str:
    """One thing with its article: "a cute small dog". Only single things are called large or small,
    and rightly so.
    """
    words = random.choice(ADJECTIVES)
    if sized and random.random() < 0.25:
        words = random.choice(LARGE if item.size == 48 else SMALL if item.size == 32 else ("",))
    singular, plural = random.choice(NOUNS[item.noun])
    words += colour_of(random, item) + singular
    if singular == plural and singular.endswith("s"):
        return words if random.random() < 0.5 else f"some {words}"
    return f"the {words}" if random.random() < 0.15 else a(words)


def a(words: str) -> str:
    """ "umbrella" -> "an umbrella"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
