"""The arithmetic that all metrics share: float64 statistics (so TF32 plays no part) of features
that were checked.

Features stay as they came (float32 as a rule) and are widened block by block: a float64 copy of
100,000 x 2,048 features alone would be 1.6 GB.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evalkit.core import EvalkitError

BLOCK_ELEMENTS = (
    2**23
)  # entries of a block of features, or of a distance or kernel matrix: 64 MiB in float64
CACHED_ELEMENTS = (
    2**16
)  # entries of a block that is widened, used and dropped at once: 0.5 MiB in float64


def valid(features: Tensor, name: str) -> Tensor:
    """Features float [N, D] as they are: an error where they are no matrix, have no row, or hold
    NaN or infinity.
    """
    if features.ndim != 2 or len(features) == 0:
        raise EvalkitError(
            f"The {name} features have shape {tuple(features.shape)}; expected [images, dimensions], one image at least."
        )
    if not features.is_floating_point():
        raise EvalkitError(
            f"The {name} features have type {features.dtype}; expected floating point numbers."
        )
    if features.shape[1] and not all(bool(torch.isfinite(end)) for end in features.aminmax()):
        bad = sum(
            int((~torch.isfinite(block)).any(dim=1).sum())
            for block in features.split(rows_per_block(features.shape[1]))
        )
        raise EvalkitError(
            f"The {name} features of {bad} of {len(features)} images hold NaN or infinity; expected finite numbers.",
            "Delete the features folder and score again; if it stays, the encoder's weights are damaged.",
        )
    return features


def valid_pair(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Both feature sets as they are, [N, D] and [M, D], checked and of one dimension."""
    fake, real = valid(fake, "generated"), valid(real, "reference")
    same_dimension(fake.shape[1], real.shape[1])
    return fake, real


def checked(features: Tensor, name: str) -> Tensor:
    """Features as float64 [N, D], checked as by `valid`; a whole copy, so for matrices that are
    small or already float64.
    """
    return valid(features, name).double()


def checked_pair(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Both feature sets as float64 [N, D] and [M, D], of one dimension."""
    fake, real = valid_pair(fake, real)
    return fake.double(), real.double()


def same_dimension(fake: int, real: int) -> None:
    """An error where generated and reference features are of different dimensions, hence of
    different encoders.
    """
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


def cached_rows(columns: int) -> int:
    """How many rows of so many columns stay near the processor while they are widened and used."""
    return max(1, CACHED_ELEMENTS // max(1, columns))


def mean_of(features: Tensor) -> Tensor:
    """Mean of float [N, D] features, summed in float64, [D]."""
    total = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
    for block in features.split(cached_rows(features.shape[1])):
        total += block.double().sum(dim=0)
    return total / len(features)


def single_is_exact() -> bool:
    """Whether products of float32 matrices keep all of float32's 24 bits: not where TF32 or
    bfloat16 was allowed for them.
    """
    return torch.get_float32_matmul_precision() == "highest"


def products(x: Tensor, y: Tensor) -> Tensor:
    """x y^T, [N, M]. On the CPU by NumPy's BLAS, which keeps its speed on long strips and halves x
    x^T.
    """
    if x.device.type != "cpu":
        return x @ y.T
    return torch.from_numpy(x.numpy() @ y.numpy().T)
