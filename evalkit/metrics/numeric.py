"""Checks and blockwise arithmetic that all metrics share.

Statistics are float64, so TF32 does not affect them. Features keep their type (usually float32) and
are converted block by block: a float64 copy of 100,000 x 2,048 features would take 1.6 GB.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evalkit.core import EvalkitError

# Entries of a block of features, or of a distance or kernel matrix: 64 MiB in float64.
BLOCK_ELEMENTS = 2**23
# Entries of a block that is converted, used once and dropped: 0.5 MiB in float64, fits the cache.
CACHED_ELEMENTS = 2**16
# Images of a sample, where every one is compared with every other one: as many as papers use.
MOST_IN_PAIRS = 50_000


def valid(features: Tensor, name: str) -> Tensor:
    """The features float [N, D], unchanged.

    Raises EvalkitError if they are not a matrix, have no rows, or contain NaN or infinity.
    """
    if features.ndim != 2 or len(features) == 0:
        raise EvalkitError(
            f"The {name} features have shape {tuple(features.shape)}; expected"
            " [images, dimensions] with at least one image.",
            code="metrics-8",
        )
    if not features.is_floating_point():
        raise EvalkitError(
            f"The {name} features have type {features.dtype}; expected floating point numbers.",
            code="metrics-9",
        )
    if features.shape[1] and not all(bool(torch.isfinite(end)) for end in features.aminmax()):
        blocks = features.split(rows_per_block(features.shape[1]))
        bad = sum(int((~torch.isfinite(block)).any(dim=1).sum()) for block in blocks)
        raise EvalkitError(
            f"The {name} features of {bad} of {len(features)} images hold NaN or infinity;"
            " expected finite numbers.",
            "Delete the features folder and score again; if the error stays, the encoder's weights"
            " are damaged.",
            code="metrics-10",
        )
    return features


def valid_pair(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Both feature sets, [N, D] and [M, D], unchanged; checked, and of equal dimension."""
    fake, real = valid(fake, "generated"), valid(real, "reference")
    same_dimension(fake.shape[1], real.shape[1])
    return fake, real


def checked(features: Tensor, name: str) -> Tensor:
    """The features as float64 [N, D], checked as in `valid`.

    This may copy all of them; use it for small matrices.
    """
    return valid(features, name).double()


def checked_pair(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Both feature sets as float64 [N, D] and [M, D], of equal dimension."""
    fake, real = valid_pair(fake, real)
    return fake.double(), real.double()


def same_dimension(fake: int, real: int) -> None:
    """Raises EvalkitError if the dimensions differ: the features are of different encoders."""
    if fake != real:
        raise EvalkitError(
            f"The generated features have {fake} dimensions and the reference has {real};"
            " they are of different encoders.",
            "Choose a reference that was built with the same encoder (`evalkit reference list`).",
            code="metrics-11",
        )


def at_least(count: int, needed: int, what: str) -> None:
    """Raises EvalkitError if there are too few images for the metric to be defined."""
    if count < needed:
        raise EvalkitError(
            f"Too few {what} images ({count}); this metric needs at least {needed}.",
            code="metrics-12",
        )


def rows_per_block(columns: int) -> int:
    """The number of rows of a matrix with this many columns that fit in one block."""
    return max(1, BLOCK_ELEMENTS // max(1, columns))


def cached_rows(columns: int) -> int:
    """The number of rows with this many columns that fit in the processor's cache."""
    return max(1, CACHED_ELEMENTS // max(1, columns))


def mean_of(features: Tensor) -> Tensor:
    """Mean of float [N, D] features, summed in float64, [D]."""
    total = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
    for block in features.split(cached_rows(features.shape[1])):
        total += block.double().sum(dim=0)
    return total / len(features)


def single_is_exact() -> bool:
    """Whether float32 matrix products keep all 24 bits: TF32 and bfloat16 are not allowed."""
    return torch.get_float32_matmul_precision() == "highest"


def products(x: Tensor, y: Tensor) -> Tensor:
    """x y^T, [N, M]. On the CPU by NumPy: faster on long strips, and half the work for x x^T."""
    if x.device.type != "cpu":
        return x @ y.T
    return torch.from_numpy(x.numpy() @ y.numpy().T)
