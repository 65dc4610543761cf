"""CMMD: squared maximum mean discrepancy with a Gaussian kernel on CLIP features of unit length.

Jayasumana et al. 2024, https://arxiv.org/abs/2401.09603: CLIP ViT-L/14 at 336 pixels, sigma = 10,
the biased estimate (all pairs, including an image with itself), times 1,000. The range is 0 to
39.61. Some copies of the authors' code omit the factor of 1,000.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evalkit.core import Metric
from evalkit.metrics.direction import unit_length
from evalkit.metrics.numeric import MOST_IN_PAIRS, rows_per_block, same_dimension

SIGMA = 10.0
SCALE = 1000.0


def cmmd(*, fake: Tensor, real: Tensor, sigma: float = SIGMA) -> Tensor:
    """CMMD of float [N, D] and [M, D] features, float64 [], >= 0; Jayasumana et al. 2024, eq. 4."""
    fake, real = _units(fake, real)
    within_fake = _sums(fake, fake, sigma).sum() / len(fake) ** 2
    within_real = _sums(real, real, sigma).sum() / len(real) ** 2
    between = _sums(fake, real, sigma).sum()
    return SCALE * (within_fake + within_real - 2 * between / (len(fake) * len(real)))


def cmmd_without(*, fake: Tensor, real: Tensor, groups: Tensor, sigma: float = SIGMA) -> Tensor:
    """CMMD without each group of generated images, float64 [G]; groups int [N], 0 .. G - 1.

    All values come from one pass over the kernel matrix, summed by pairs of groups.
    """
    fake, real = _units(fake, real)
    member = torch.nn.functional.one_hot(groups, int(groups.max()) + 1).double()  # [N, G]
    step = rows_per_block(len(fake))
    blocks = zip(fake.split(step), member.split(step), strict=True)
    sums = [rows.T @ (_kernel(block, fake, sigma) @ member) for block, rows in blocks]
    pairs = torch.stack(sums).sum(dim=0)  # [G, G]
    between, left = member.T @ _sums(fake, real, sigma), len(fake) - member.sum(dim=0)
    within_fake = (pairs.sum() - 2 * pairs.sum(dim=1) + pairs.diagonal()) / left**2
    within_real = _sums(real, real, sigma).sum() / len(real) ** 2
    between = between.sum() - between
    return SCALE * (within_fake + within_real - 2 * between / (left * len(real)))


def describe(*, fake: int, real: int) -> str:
    """The note of a row."""
    return (
        f"{fake} images against {real} stored reference images,"
        f" Gaussian kernel with sigma {SIGMA:g}, times {SCALE:g}"
    )


def _units(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    fake, real = unit_length(fake, "generated"), unit_length(real, "reference")
    same_dimension(fake.shape[1], real.shape[1])
    return fake, real


def _kernel(x: Tensor, y: Tensor, sigma: float) -> Tensor:
    """exp(-|x - y|^2 / (2 sigma^2)) of rows of unit length, whose squared distance is 2 - 2 x.y."""
    return ((x @ y.T - 1) / sigma**2).exp()


def _sums(x: Tensor, y: Tensor, sigma: float) -> Tensor:
    """Sum of the kernel of every row of x with all rows of y, [N], in blocks of bounded memory."""
    blocks = x.split(rows_per_block(len(y)))
    return torch.cat([_kernel(rows, y, sigma).sum(dim=1) for rows in blocks])


CMMD = Metric(
    "cmmd", cmmd, "pool", "clip-large", "lower", "https://arxiv.org/abs/2401.09603",
    title="CMMD",
    question="How close are the images, as a set, to real ones, in features of CLIP?",
    meaning="Kernel distance to the reference images in the features of CLIP.",
    range=(0.0, 2 * SCALE * (1 - math.exp(-2 / SIGMA**2))),
    leave_out=cmmd_without,
    describe=describe,
    most=MOST_IN_PAIRS,
    depends_on_count=True,
    from_zero=True,
)  # fmt: skip
