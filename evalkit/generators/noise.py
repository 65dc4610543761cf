"""Seeded noise: a generator without weights, for tests, documentation and as a lower bound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
from PIL import Image as PILImage
from PIL.Image import Image

from evalkit.core import EvalkitError, Generator, Refusal


def load(*, size: int = 32) -> Generator:
    """Uniform noise of `size` x `size` pixels; each image depends on its seed only."""
    if not 1 <= size <= 4096:
        raise EvalkitError(f"noise.size is {size}; expected 1 to 4096.", code="generators-36")

    def generate(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image | Refusal]:
        generators = (numpy.random.Generator(numpy.random.PCG64(seed)) for seed in seeds)
        return [
            PILImage.fromarray(generator.integers(0, 256, (size, size, 3), numpy.uint8))
            for generator in generators
        ]

    return generate
