"""Prompts that name a shape in its colour, then something unknown in another colour: "a red circle
on a white background". The other colour must not be drawn on the shape.

The phrases are for measuring only: no training uses them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from random import Random

from evalkit.scenes.captions import colour_word, with_article
from evalkit.scenes.compose import Scene, compose
from evalkit.scenes.tables import COLOUR_WORDS, NOUN_FORMS

PHRASES = (
    "on a {} background", "in front of a {} wall", "against a {} wall", "beside a {} fence",
    "under a {} sky", "with a {} border", "with a {} outline", "in a {} frame", "on {} paper",
    "on a plain {} backdrop", "surrounded by {} flowers", "behind a {} curtain", "on a {} carpet",
    "inside a {} bubble", "above a {} cloud", "floating over {} hills", "drawn on a {} canvas",
    "printed on {} cardboard", "between {} posts", "among {} leaves", "with {} dots",
    "with {} stripes around it", "near a {} door", "next to a {} rock", "lit by {} lamps",
    "covered in {} dust", "at the {} gate", "on top of a {} pillow", "across a {} bridge",
    "in {} fog", "and a {} shadow", "hanging from a {} ceiling", "on a {} chessboard",
    "painted over {} bricks", "through a {} window", "beneath a {} arch",
)  # fmt: skip


def shape_scenes(first_seed: int, number: int) -> list[Scene]:
    """The first scenes, from a seed on, of a single shape."""

    def some() -> Iterator[Scene]:
        for scene in map(compose, count(first_seed)):
            if scene.kind == "single" and scene.items[0].colour:
                yield scene

    return list(islice(some(), number))


def phrased_prompt(scene: Scene, seed: int) -> str:
    """A prompt for the shape of a scene with a phrase, both chosen by the seed."""
    random, item = Random(seed), scene.items[0]
    shape = with_article(colour_word(random, item) + random.choice(NOUN_FORMS[item.noun])[0])
    other = random.choice([name for name in COLOUR_WORDS if name != item.colour])
    word, phrase = random.choice(COLOUR_WORDS[other]), random.choice(PHRASES)
    return f"{shape} {phrase.replace('a {}', with_article(word)).replace('{}', word)}"
