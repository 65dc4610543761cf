"""The augmentation of the images that mini networks learn from: blur, noise, brightness.

Generated images are never as clean as composed ones.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def augmentation(count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The random numbers for `augment`: uniform [N, 4] in 0..1, and normal [N, 3, S, S]."""
    uniform = torch.rand(count, 4, generator=generator)
    return uniform, torch.randn(count, 3, size, size, generator=generator)


def augment(images: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
    """Blur and noise for a part of the images, and a random brightness for all."""
    blur, amount, grain, light = uniform.T[:, :, None, None, None]  # each [N, 1, 1, 1]
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    images = torch.where(blur < 0.3, torch.lerp(images, blurred, amount), images)
    images = images + normal * 0.2 * (grain - 0.5).clamp(min=0)
    return images * (0.85 + 0.3 * light)
