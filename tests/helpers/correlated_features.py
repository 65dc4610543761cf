"""Seeded features that are correlated and not Gaussian, two images to a prompt: what intervals are
tested on.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evalkit.metrics import frechet

DIMENSION, CLUSTER = 16, 2


def features(random: np.random.RandomState, count: int) -> Tensor:
    """float64 [count, 16]: correlated, not Gaussian, and two images of one prompt alike."""
    shared = np.repeat(random.randn(count // CLUSTER, DIMENSION), CLUSTER, axis=0)
    noise = (shared + random.randn(count, DIMENSION)) / 2**0.5
    return torch.from_numpy(np.maximum(noise @ MIXING.T + 0.4, 0.0))


MIXING = np.random.RandomState(1).randn(DIMENSION, DIMENSION) * (1 + np.arange(DIMENSION)) ** -0.7
REAL = features(np.random.RandomState(2), 600)
MOMENTS = frechet.moments(REAL)
