"""The differentiable augmentation of what the critics of a gan see (Zhao et al. 2020): shifts and
brightness, drawn anew for each step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Shifts(NamedTuple):
    """One draw for a batch."""

    x: int
    y: int
    brightness: Tensor  # [N, 1, 1, 1]

    def of(self, share: slice) -> Shifts:
        return self._replace(brightness=self.brightness[share])


def shifts(count: int, size: int, generator: torch.Generator) -> Shifts:
    reach = size // 8
    x, y = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
    return Shifts(x, y, 0.3 * torch.rand(count, 1, 1, 1, generator=generator) - 0.15)


def augment(images: Tensor, by: Shifts) -> Tensor:
    """The critics see real and fake pictures shifted and brightened alike, so that they cannot
    learn the real ones by heart.
    """
    padding = max(abs(by.x), abs(by.y))
    if padding:
        size = images.shape[-1]
        padded = F.pad(images, (padding,) * 4, mode="replicate")
        images = padded[
            :, :, padding + by.y : padding + by.y + size, padding + by.x : padding + by.x + size
        ]
    return images + by.brightness.to(images.device)
