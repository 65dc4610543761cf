"""How much of an image has the colour that its prompt names: the smallest complete scorer.

It needs no weights, so it shows and tests the whole path of a scorer on any machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from PIL.Image import Image

from evalkit.scenes.tables import COLOUR_WORDS, COLOURS
from evalkit.scorer import NoAnswer, Scorer

_NAMES = {word: name for name, words in COLOUR_WORDS.items() for word in words}


class ColourMatch:
    """The share of pixels within a distance of the colour that the prompt names first."""

    def __init__(self, distance: int = 96) -> None:
        """distance: the largest difference in each of R, G and B, in values of 0 to 255."""
        self.distance = distance
        self.name = f"colour-match-{distance}"
        self.fingerprint = f"colour-match-1/{distance}"

    def __call__(
        self, images: Sequence[Image], prompts: Sequence[str]
    ) -> Iterator[float | NoAnswer]:
        for image, prompt in zip(images, prompts, strict=True):
            names = [_NAMES[word] for word in re.findall(r"\w+", prompt.lower()) if word in _NAMES]
            if not names:
                yield NoAnswer("the prompt names no colour")
                continue
            away = np.abs(np.asarray(image, dtype=np.int16) - COLOURS[names[0]])
            yield float((away.max(axis=2) <= self.distance).mean())


COLOUR_MATCH = Scorer(
    "colour_match",
    "higher",
    load=ColourMatch,
    title="Colour match",
    question="How much of the image has the colour that the prompt names?",
    meaning="Share of pixels near the colour that the prompt names first.",
    range=(0.0, 1.0),
    from_zero=True,
)
