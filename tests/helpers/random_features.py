"""Seeded random features and groups, for tests of metrics."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

DEGENERATE = ["offset", "tight", "copies", "collapsed", "tiny", "huge", "outlier"]


def rows(count: int, dimension: int, seed: int, shift: float = 0.0) -> Tensor:
    """Independent Gaussians, float64 [count, dimension]."""
    return torch.from_numpy(np.random.RandomState(seed).randn(count, dimension) + shift)


def groups_of(count: int, groups: int, seed: int) -> Tensor:
    """Random groups, int64 [count]; no group is empty."""
    random = np.random.RandomState(seed)
    more = random.randint(0, groups, count - groups)
    return torch.from_numpy(random.permutation(np.concatenate([np.arange(groups), more])))


def degenerate_rows(count: int, dimension: int, seed: int, form: str) -> Tensor:
    """Features that are numerically difficult, float64 [count, dimension]."""
    random = np.random.RandomState(seed)
    x = random.randn(count, dimension)
    if form == "offset":  # a mean of a thousand times the spread
        x = x + 1e3
    elif form == "tight":  # two distant modes, each of images that are equal in float32
        x = 1e-3 * x + 50 * (np.arange(count) % 2)[:, None]
    elif form == "copies":
        x = x[random.randint(0, count // 4, count)]
    elif form == "collapsed":
        x = np.repeat(x[:1], count, axis=0)
    elif form == "tiny":
        x = x * 1e-30
    elif form == "huge":
        x = x * 1e30
    elif form == "outlier":
        x[0] *= 1e4
    return torch.from_numpy(x)


def pairwise(x: Tensor, y: Tensor) -> Tensor:
    """All squared distances, float64 [N, M], by differences."""
    return (x.double()[:, None] - y.double()).square().sum(dim=2)
