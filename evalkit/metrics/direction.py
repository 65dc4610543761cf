"""Features as directions: what cosines, CLIP and kernels on the unit sphere work with."""

from __future__ import annotations

from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.metrics.numeric import checked


def unit_length(features: Tensor, name: str) -> Tensor:
    """Rows of float [N, D] scaled to length 1, float64 [N, D]. A row of zeros has no direction: an
    error.
    """
    features = checked(features, name)
    lengths = features.norm(dim=1, keepdim=True)
    if bool((lengths == 0).any()):
        zero = int((lengths == 0).sum())
        raise EvalkitError(
            f"The {name} features of {zero} of {len(features)} rows are all zero; a row of zeros has no direction."
        )
    return features / lengths
