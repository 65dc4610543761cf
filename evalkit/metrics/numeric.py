"""The arithmetic that all metrics share: float64 statistics (so TF32 plays no part) of features that were checked."""

from __future__ import annotations

import torch
from torch import Tensor

from evalkit.core import EvalkitError

BLOCK_ELEMENTS = 2**23  # entries of a block of a distance or kernel matrix: 64 MiB in float64


def checked(features: Tensor, name: str) -> Tensor:
    """Features as float64 [N, D]: an error where they are no matrix, have no row, or hold NaN or infinity."""
    if features.ndim != 2 or len(features) == 0:
        raise EvalkitError(f"The {name} features have shape {tuple(features.shape)}; expected [images, dimensions], one image at least.")
    if not features.is_floating_point():
        raise EvalkitError(f"The {name} features have type {features.dtype}; expected floating point numbers.")
    if not bool(torch.isfinite(features).all()):
        bad = int((~torch.isfinite(features)).any(dim=1).sum())
        raise EvalkitError(
            f"The {name} features of {bad} of {len(features)} images hold NaN or infinity; expected finite numbers.",
            "Delete the features folder and score again; if it stays, the encoder's weights are damaged.",
        )
    return features.double()


def checked_pair(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Both feature sets as float64 [N, D] and [M, D], of one dimension."""
    fake, real = checked(fake, "generated"), checked(real, "reference")
    same_dimension(fake.shape[1], real.shape[1])
    return fake, real


def same_dimension(fake: int, real: int) -> None:
    """An error where generated and reference features are of different dimensions, hence of different encoders."""
    if fake != real:
        raise EvalkitError(
            f"The generated features have {fake} dimensions and the reference has {real}; they are of different encoders.",
            "Choose a reference that was built with the same encoder (`evalkit reference list`).",
        )


def at_least(count: int, needed: int, what: str) -> None:
    """An error where a metric has too few images to be defined."""
    if count < needed:
        raise EvalkitError(f"Found {count} {what} images; this metric needs at least {needed}.")


def rows_per_block(columns: int) -> int:
    """How many rows of a matrix with so many columns fit in one block of bounded memory."""
    return max(1, BLOCK_ELEMENTS // max(1, columns))
