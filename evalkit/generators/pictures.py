"""What the bundled generators share: from prompts and seeds to pictures, in batches of one fixed
size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from evalkit.core import Refusal
from evalkit.images import to_images
from evalkit.models.mini_inception import to_bytes
from evalkit.models.text import SubwordTokenizer
from evalkit.scenes.words import split_words


def fixed_size(device: str, tokens: int = 64) -> int:
    """Pictures drawn at once, each of so many tokens. An accelerator is waiting for its next order
    most of the time, however many pictures that is about: dalle gives some 10,000 of them for a
    batch, and an H100 draws 1,024 pictures in 1.4 times the time of 32.
    """
    return 32 if device == "cpu" else max(32, 1024 * 64 // tokens)


@dataclass(frozen=True)
class FixedBatches:
    """A generator that always draws so many pictures at once, filling up with empty prompts: then
    the arithmetic of a picture, and so the picture, cannot depend on how many are asked for
    together.
    """

    draw: Callable[
        [list[list[str]], list[int]], Tensor
    ]  # N texts, split into words, and N seeds -> float [N, 3, S, S] in -1..1
    pieces: SubwordTokenizer
    fingerprint: str
    at_once: int  # N, of every draw

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image | Refusal]:
        drawn: list[Image.Image | Refusal] = []
        for start in range(0, len(prompts), self.at_once):
            texts, own = (
                [split_words(text) for text in prompts[start : start + self.at_once]],
                list(seeds[start : start + self.at_once]),
            )
            missing = self.at_once - len(texts)
            images = self.draw([*texts, *[[]] * missing], own + [0] * missing)[: len(texts)]
            pictures = to_images(to_bytes(images))
            for picture, text in zip(pictures, texts, strict=True):
                if (length := len(self.pieces.piece_ids(text))) > self.pieces.context:
                    picture.info["note"] = (
                        f"only the first {self.pieces.context} of the prompt's {length} text tokens were read"
                    )
            drawn += pictures
        return drawn
