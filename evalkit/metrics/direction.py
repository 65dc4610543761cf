"""Features of unit length, for cosines and for kernels on the unit sphere."""

from __future__ import annotations

from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.metrics.numeric import checked


def unit_length(features: Tensor, name: str) -> Tensor:
    """Rows of float [N, D] scaled to length 1, float64 [N, D]. A row of zeros is an error."""
    features = checked(features, name)
    lengths = features.norm(dim=1, keepdim=True)
    zero = int((lengths == 0).sum())
    if zero:
        raise EvalkitError(
            f"The {name} features of {zero} of {len(features)} rows are all zero;"
            " expected features that can be scaled to length 1."
        )
    return features / lengths
