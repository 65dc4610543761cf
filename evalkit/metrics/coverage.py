"""Density and coverage (Naeem et al. 2020, https://arxiv.org/abs/2002.09797), k = 5, distances
compared by <, as the authors' prdc.

Both count how generated images fall into balls around the real ones, each as wide as the distance
to the real image's k-th neighbour. Unlike precision and recall they are not ruled by single
outliers with wide balls.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evalkit.core import Metric
from evalkit.metrics import manifold
from evalkit.metrics.balls import balls_around, pairs_within
from evalkit.metrics.neighbours import nearest
from evalkit.metrics.numeric import rows_per_block, valid_pair

NEIGHBOURS = 5


def density(*, fake: Tensor, real: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Density per generated image, float64 [N], 0 to M / k: the number of balls that it lies in,
    over k; eq. 3.

    The figure of the set is the mean; about 1 where the sets are of one distribution, and above 1
    where the generated images crowd at the middle of the real ones. fake float [N, D], real float
    [M, D].
    """
    fake, real = valid_pair(fake, real)
    return balls_around(fake, real, manifold.radii(real, k), strict=True).double() / k


def coverage(*, fake: Tensor, real: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Coverage, float64 [], 0 to 1: the share of real images whose ball holds a generated one; eq.
    4.

    It rises with N / M: see `expected_coverage`.
    """
    fake, real = valid_pair(fake, real)
    return (nearest(real, fake).squared[:, 0] < manifold.radii(real, k)).double().mean()


def coverage_without(*, fake: Tensor, real: Tensor, groups: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Coverage with each group of generated images left out in turn, float64 [G]; groups int [N], 0
    .. G - 1.
    """
    fake, real = valid_pair(fake, real)
    count, squared_radii = int(groups.max()) + 1, manifold.radii(real, k)
    hits = torch.zeros(
        len(real), count, dtype=torch.float64
    )  # how many images of each group lie in each ball
    step = rows_per_block(len(real))
    for start in range(0, len(fake), step):
        row, column, squared = pairs_within(fake, real, squared_radii, start, start + step)
        inside = squared < squared_radii[column]
        hits.index_put_(
            (column[inside], groups[row[inside]]),
            torch.ones((), dtype=torch.float64),
            accumulate=True,
        )
    return (hits.sum(dim=1, keepdim=True) > hits).double().mean(dim=0)


def expected_coverage(*, fake: int, real: int, k: int = NEIGHBOURS) -> float:
    """What a perfect generator scores at these counts: one less the chance that the k nearest of
    all others are real ones.
    """
    return 1 - math.prod((real - place) / (real + fake - place) for place in range(1, k + 1))


def describe_density(*, fake: int, real: int) -> str:
    """What was done with so many images, for the note of a row."""
    return f"k = {NEIGHBOURS}, {fake} images against {real} stored reference images"


def describe_coverage(*, fake: int, real: int) -> str:
    """What was done with so many images, for the note of a row."""
    if real <= NEIGHBOURS:
        return ""
    perfect = expected_coverage(fake=fake, real=real)
    return f"{describe_density(fake=fake, real=real)}; a perfect generator scores {perfect:.3f} at these counts"


DENSITY = Metric(
    "density",
    density,
    "pool",
    "inception",
    "higher",
    "https://arxiv.org/abs/2002.09797",
    meaning="How densely the generated images lie among the reference images.",
    range=(0.0, math.inf),
    describe=describe_density,
    depends_on_count=True,
    from_zero=True,
)
COVERAGE = Metric(
    "coverage",
    coverage,
    "pool",
    "inception",
    "higher",
    "https://arxiv.org/abs/2002.09797",
    meaning="Share of reference images with a generated image nearby.",
    range=(0.0, 1.0),
    leave_out=coverage_without,
    describe=describe_coverage,
    depends_on_count=True,
    from_zero=True,
)
