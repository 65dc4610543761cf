"""Features of unit length, for cosines and for kernels on the unit sphere."""

from __future__ import annotations

import torch
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.metrics.numeric import cached_rows, valid


def unit_length(features: Tensor, name: str) -> Tensor:
    """Rows of float [N, D] scaled to length 1, float64 [N, D]. A row of zeros is an error."""
    return features.double() / lengths(features, name)


def lengths(features: Tensor, name: str) -> Tensor:
    """The length of each row of float [N, D], float64 [N, 1]. A row of zeros is an error."""
    blocks = valid(features, name).split(cached_rows(features.shape[1]))
    found = torch.cat([block.double().norm(dim=1, keepdim=True) for block in blocks])
    zero = (found[:, 0] == 0).nonzero()[:, 0].tolist()
    if zero:
        listed = ", ".join(map(str, zero[:5])) + ", …" * (len(zero) > 5)
        raise EvalkitError(
            f"The {name} features of {len(zero)} of {len(features)} rows are all zero (counted from"
            f" 0: {listed}); expected features that can be scaled to length 1. Most often, these"
            " are black images: make them again, or leave them out.",
            code="metrics-2",
        )
    return found
