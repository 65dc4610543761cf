"""A generator for evalkit: a disc in the first colour of the prompt, on a plain background."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

from PIL import Image, ImageDraw

from evalkit.core import EvalkitError, Generator, Refusal

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "black", "white", "gray")


def load(*, size: int = 64, ground: str = "lightgray") -> Generator:
    """Discs in the colours of the prompts.

    Args:
        size: width and height of the images in pixels.
        ground: the colour of the background.
    """
    if not 8 <= size <= 1024:
        raise EvalkitError(
            f"The option size is {size}; expected 8 to 1024.",
            "For example `--set example.size=64`.",
        )
    return Discs(size, ground)


class Discs:
    """The loaded generator. A function is sufficient; a class can also have a fingerprint."""

    def __init__(self, size: int, ground: str) -> None:
        self.size, self.ground = size, ground
        # A real model hashes its weights here.
        self.fingerprint = hashlib.sha256(",".join(COLOURS).encode()).hexdigest()

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image | Refusal]:
        return [self._draw(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]

    def _draw(self, prompt: str, seed: int) -> Image.Image | Refusal:
        words = prompt.lower().replace(",", " ").split()
        colour = next((word for word in words if word in COLOURS), None)
        if colour is None:  # a refusal is counted and reported; it is not an exception
            return Refusal("refused_input", "the prompt names no colour")
        generator = random.Random(seed)  # one per image: results do not depend on the batch
        radius = generator.uniform(0.1, 0.3) * self.size
        x, y = (generator.uniform(radius, self.size - radius) for _ in range(2))
        image = Image.new("RGB", (self.size, self.size), self.ground)
        ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        return image
