"""How well a picture fits its prompt."""

from __future__ import annotations

import torch
from torch import Tensor

from evalkit.metrics.numeric import checked, same_dimension


def clip_score(*, fake: Tensor, text: Tensor) -> Tensor:
    """100 times the cosine of image and prompt features, per image, float64 [N], -100 to 100; Hessel et al. 2021, eq. 1.

    The plain form: no prefix before the prompt, no factor of 2.5, and not cut off at 0 (https://arxiv.org/abs/2104.08718).
    fake float [N, D], text float [N, D] of the same prompts in the same order.
    """
    fake, text = checked(fake, "generated"), checked(text, "prompt")
    same_dimension(fake.shape[1], text.shape[1])
    if len(fake) != len(text):
        raise ValueError(f"{len(fake)} images and {len(text)} prompts; expected one prompt per image")
    return 100 * torch.nn.functional.cosine_similarity(fake, text, dim=1)
