"""Differentiable augmentation for the discriminators (Zhao et al. 2020): shifts and brightness."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Shifts(NamedTuple):
    """The random numbers for a batch."""

    x: int
    y: int
    brightness: Tensor  # [N, 1, 1, 1]

    def of(self, share: slice) -> Shifts:
        return self._replace(brightness=self.brightness[share])


def random_shifts(count: int, size: int, generator: torch.Generator) -> Shifts:
    reach = size // 8
    x, y = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
    return Shifts(x, y, 0.3 * torch.rand(count, 1, 1, 1, generator=generator) - 0.15)


def augment(images: Tensor, by: Shifts) -> Tensor:
    """Shift and brighten. Real and generated images get the same shifts.

    So the discriminators cannot memorise the real images.
    """
    padding = max(abs(by.x), abs(by.y))
    if padding:
        size = images.shape[-1]
        padded = F.pad(images, (padding,) * 4, mode="replicate")
        left, top = padding + by.x, padding + by.y
        images = padded[:, :, top : top + size, left : left + size]
    return images + by.brightness.to(images.device)
