"""The perceptual loss: the difference between two images in the features of a classifier.

It is closer to human judgement than the difference of pixels.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from evalkit.models.mini_inception import MiniInception, resize_to_32


def perceptual_loss(features: MiniInception, drawn: Tensor, real: Tensor) -> Tensor:
    """Mean squared difference of unit feature vectors at three sizes.

    This is the form of LPIPS (Zhang et al. 2018, equation 1) without its learned weights.

    Args:
        features: the feature network, frozen, in evaluation mode.
        drawn, real: float [N, 3, S, S] in -1..1. The real ones need no gradient.
    """
    pairs = zip(features.maps(resize_to_32(drawn)), features.maps(resize_to_32(real)), strict=True)
    return sum(
        ((F.normalize(one) - F.normalize(other)).square().sum(1).mean() for one, other in pairs),
        drawn.new_zeros(()),
    )
