"""Density and coverage (Naeem et al. 2020, https://arxiv.org/abs/2002.09797).

k = 5, distances compared by <, as in the authors' package prdc. Both count the generated images in
balls around the real ones; the radius is the distance to the real image's k-th neighbour. Unlike
precision and recall, they are not dominated by single outliers with large balls.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evalkit.core import Metric
from evalkit.metrics import manifold
from evalkit.metrics.balls import balls_around, pairs_within
from evalkit.metrics.neighbours import nearest
from evalkit.metrics.numeric import MOST_IN_PAIRS, rows_per_block, valid_pair

NEIGHBOURS = 5


def density(*, fake: Tensor, real: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Density per generated image, float64 [N], 0 to M / k; eq. 3.

    The number of balls that contain the image, divided by k. The value of the set is the mean:
    about 1 for equal distributions, and above 1 if the generated images concentrate where the real
    ones are dense. fake float [N, D], real float [M, D].
    """
    fake, real = valid_pair(fake, real)
    return balls_around(fake, real, manifold.radii(real, k), strict=True).double() / k


def coverage(*, fake: Tensor, real: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Coverage, float64 [], 0 to 1; eq. 4.

    The share of real images whose ball contains a generated image. It increases with N / M: see
    `expected_coverage`. fake float [N, D], real float [M, D].
    """
    fake, real = valid_pair(fake, real)
    return (nearest(real, fake).squared[:, 0] < manifold.radii(real, k)).double().mean()


def coverage_without(*, fake: Tensor, real: Tensor, groups: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Coverage without each group of generated images, float64 [G]; groups int [N], 0 .. G - 1."""
    fake, real = valid_pair(fake, real)
    count, squared_radii = int(groups.max()) + 1, manifold.radii(real, k)
    hits = torch.zeros(len(real), count, dtype=torch.float64)  # images of each group in each ball
    one = torch.ones((), dtype=torch.float64)
    step = rows_per_block(len(real))
    for start in range(0, len(fake), step):
        row, column, squared = pairs_within(fake, real, squared_radii, start, start + step)
        inside = squared < squared_radii[column]
        hits.index_put_((column[inside], groups[row[inside]]), one, accumulate=True)
    return (hits.sum(dim=1, keepdim=True) > hits).double().mean(dim=0)


def expected_coverage(*, fake: int, real: int, k: int = NEIGHBOURS) -> float:
    """The coverage of an ideal generator at these counts.

    1 minus the probability that the k nearest neighbours among all other images are real ones.
    """
    return 1 - math.prod((real - place) / (real + fake - place) for place in range(1, k + 1))


def describe_density(*, fake: int, real: int) -> str:
    """The note of a row."""
    return f"k = {NEIGHBOURS}, {fake} images against {real} stored reference images"


def describe_coverage(*, fake: int, real: int) -> str:
    """The note of a row."""
    if real <= NEIGHBOURS:
        return ""
    ideal = expected_coverage(fake=fake, real=real)
    counts = describe_density(fake=fake, real=real)
    return f"{counts}; expected value of an ideal generator at these counts: {ideal:.3f}"


DENSITY = Metric(
    "density", density, "pool", "inception", "higher", "https://arxiv.org/abs/2002.09797",
    question="How typical are the images of real ones?",
    meaning="How densely the generated images lie among the reference images.",
    range=(0.0, math.inf),
    describe=describe_density,
    most=MOST_IN_PAIRS,
    depends_on_count=True,
    from_zero=True,
)  # fmt: skip
COVERAGE = Metric(
    "coverage", coverage, "pool", "inception", "higher", "https://arxiv.org/abs/2002.09797",
    question="How many of the real images have a similar generated one?",
    meaning="Share of reference images with a generated image nearby.",
    range=(0.0, 1.0),
    leave_out=coverage_without,
    describe=describe_coverage,
    most=MOST_IN_PAIRS,
    depends_on_count=True,
    from_zero=True,
    aspect="diversity",
)  # fmt: skip
