"""An encoder without a network: the mean colours of an 8 x 8 grid.

For tests, documentation and dry runs; its numbers are not meaningful.
"""

from __future__ import annotations

import torch
from PIL.Image import Image, Resampling
from torch import Tensor

from evalkit.images import to_tensor

GRID = 8


class Pixels:
    """Image to 192 mean colours in [0, 1]; no logits and no text."""

    name, device = "pixels", "cpu"
    fingerprint = f"pixels-{GRID}x{GRID}-1"

    def prepare(self, image: Image) -> Tensor:
        """RGB image of any size -> uint8 [3, 8, 8], the mean colour of each grid cell."""
        return to_tensor(image.resize((GRID, GRID), Resampling.BOX))

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 [N, 3, 8, 8] -> {"pool": float32 [N, 192]}."""
        return {"pool": images.flatten(1).to(torch.float32) / 255}


def load() -> Pixels:
    """Mean colours of an 8 x 8 grid, for tests and dry runs (192 dimensions)."""
    return Pixels()
