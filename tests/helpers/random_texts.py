"""Features of random texts, for the tests of the GAN and its discriminators."""

import torch
from torch.nn import functional as F

from evalkit.models.text import TextFeatures


def texts(count: int) -> TextFeatures:
    """Texts of six words."""
    words = torch.randn(count, 6, 128, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(count, 6, dtype=torch.bool)
    return TextFeatures(words, mask, F.normalize(words.sum(1), dim=1))


def reversed_order(text: TextFeatures) -> TextFeatures:
    """The same texts, the last one first."""
    return text.select(torch.arange(len(text.mask)).flip(0))


def padded(text: TextFeatures) -> TextFeatures:
    """The same texts with three masked words appended."""
    return text._replace(
        tokens=F.pad(text.tokens, (0, 0, 0, 3), value=1.0), mask=F.pad(text.mask, (0, 3))
    )
