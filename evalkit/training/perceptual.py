"""The difference between two pictures as a classifier sees it, which is nearer to a person's than
that of their pixels.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from evalkit.models.mini_inception import MiniInception, resize_to_32


def perceptual_loss(eyes: MiniInception, drawn: Tensor, real: Tensor) -> Tensor:
    """Mean squared difference of the classifier's maps at three sizes, each place's features scaled
    to length 1: the form of LPIPS (Zhang et al. 2018, equation 1) without its learned weights.

    Args:
        eyes: frozen, in evaluation mode.
        drawn, real: float [N, 3, S, S] in -1..1. The real ones need no gradient.
    """
    pairs = zip(eyes.maps(resize_to_32(drawn)), eyes.maps(resize_to_32(real)), strict=True)
    return sum(
        ((F.normalize(one) - F.normalize(other)).square().sum(1).mean() for one, other in pairs),
        drawn.new_zeros(()),
    )
