"""What the GAN trains when: image sizes, the start of the discriminators, learning rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from evalkit.core import EvalkitError
from evalkit.models.gan import WIDTHS
from evalkit.training.options import GanOptions


class Stage(NamedTuple):
    """A point of progressive growing (Karras et al. 2018)."""

    size: int
    fade: float  # weight of this size against the enlarged smaller one; 1 = this size alone


@dataclass(frozen=True)
class GanSchedule:
    steps: int
    size: int
    growing: bool
    grown_from: int  # the largest size known from an earlier training; 4 without one
    discriminator_start: int  # the first step with discriminators
    generator_start: int  # the first step in which the generator learns from them

    def stage(self, step: int) -> Stage:
        if not self.growing:
            return Stage(self.size, 1.0)
        return stage(step / self.steps, self.size, self.grown_from)

    def generator_frozen(self, step: int) -> bool:
        return self.discriminator_start <= step < self.generator_start

    def rate(self, step: int) -> float:
        """The factor of the learning rate: linear decay over the last quarter."""
        return min(1.0, 4 * (1 - step / self.steps) + 0.05)


def stage(progress: float, size: int = 32, grown_from: int = 4) -> Stage:
    """Size and fade at a point of the training, progress in 0..1.

    Each size takes 1.5 times as long as all smaller ones together. It fades in over the first third
    of its time, unless it is the smallest possible.
    """
    sizes = [side for side in WIDTHS if grown_from < side <= size]
    ends = [0.4 ** (len(sizes) - 1 - place) for place in range(len(sizes))]  # 0.16, 0.4, 1 for 3
    place = next((place for place, end in enumerate(ends) if progress < end), len(ends) - 1)
    start = ends[place - 1] if place else 0.0
    fade = min(1.0, (progress - start) / ((ends[place] - start) / 3))
    return Stage(sizes[place], 1.0 if sizes[place] == 8 else fade)


def shown_at(real: Tensor, now: Stage) -> Tensor:
    """Real images as the discriminators see them: of the size of the stage, and faded in alike.

    float [N, 3, S, S].
    """
    real = F.avg_pool2d(real, real.shape[-1] // now.size) if now.size < real.shape[-1] else real
    if now.fade < 1:
        small = F.interpolate(
            F.avg_pool2d(real, 2), scale_factor=2, mode="bilinear", align_corners=False
        )
        real = torch.lerp(small, real, now.fade)
    return real


def discriminator_steps(options: GanOptions, steps: int) -> tuple[int, int]:
    """The first step with discriminators, and the first in which the generator learns from them.

    The last step has discriminators, however few steps there are. Raises EvalkitError for shares
    with which nothing would be learned.
    """
    start, warmup = options.discriminator_start, options.discriminator_warmup
    given = f"gan.discriminator_start is {start} and gan.discriminator_warmup {warmup}"
    if not (0 <= start < 1 and 0 <= warmup <= 1):
        raise EvalkitError(
            f"{given}, expected shares of the steps, 0 to 1.",
            "Set gan.discriminator_start to 0.8 for discriminators in the last fifth.",
            code="training-29",
        )
    if start and start + warmup >= 1:
        raise EvalkitError(
            f"{given}: the generator would never learn from its discriminators.",
            "Make their sum less than 1.",
            code="training-30",
        )
    first = min(round(start * steps), steps - 1)
    if first and not options.reconstruction:
        raise EvalkitError(
            f"gan.discriminator_start is {start} and gan.reconstruction 0: "
            f"the first {first} steps would train nothing.",
            "Set one of the two: gan.discriminator_start to 0 starts with the discriminators, "
            "gan.reconstruction to 10 with reconstructions.",
            code="training-31",
        )
    return first, first + round(warmup * steps)
