"""From prompts and seeds to images in batches of one fixed size, for the bundled generators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from evalkit.core import Refusal
from evalkit.images import to_images
from evalkit.models.mini_inception import to_bytes
from evalkit.models.text import SubwordTokenizer
from evalkit.scenes.words import split_words


def fixed_size(device: str, tokens: int = 64) -> int:
    """The number of images in a batch, by the number of tokens of an image.

    An accelerator mostly waits for kernel launches: dalle launches some 10,000 per batch, and an
    H100 makes 1,024 images in 1.4 times the time of 32.
    """
    return 32 if device == "cpu" else max(32, 1024 * 64 // tokens)


@dataclass(frozen=True)
class FixedBatches:
    """A generator whose batches always have the same size, filled up with empty prompts.

    The arithmetic of an image, and therefore the image, then does not depend on the number of
    images that are requested together.
    """

    # N texts, split into words, and N seeds -> float [N, 3, S, S] in -1..1
    draw: Callable[[list[list[str]], list[int]], Tensor]
    tokenizer: SubwordTokenizer
    fingerprint: str
    at_once: int  # N
    settings: Mapping[str, Any] = field(default_factory=dict)  # as used; goes into model.json

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image | Refusal]:
        result: list[Image.Image | Refusal] = []
        context = self.tokenizer.context
        for start in range(0, len(prompts), self.at_once):
            batch = slice(start, start + self.at_once)
            texts = [split_words(text) for text in prompts[batch]]
            missing = self.at_once - len(texts)
            drawn = self.draw([*texts, *[[]] * missing], [*seeds[batch], *[0] * missing])
            images = to_images(to_bytes(drawn[: len(texts)]))
            for image, text in zip(images, texts, strict=True):
                if (length := len(self.tokenizer.piece_ids(text))) > context:
                    read = f"only the first {context} of the prompt's {length} text tokens"
                    image.info["note"] = f"{read} were read"
            result += images
        return result
