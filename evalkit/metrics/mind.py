"""MIND, the Monge Inception distance: 3 D times the mean squared Wasserstein-2 distance of the
features along random directions.

Berthet et al. 2026, https://arxiv.org/abs/2605.06797. Along one direction the distance is that of
sorted values. Directions, their number (1,000) and the choice of images where one side has more are
drawn as torch-fidelity draws them (its version after 0.4.0), seed 2020, so that the same features
give the same figure. A shift of all features by mu adds 3 D mu^2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evalkit.core import Metric
from evalkit.metrics.numeric import rows_per_block, valid_pair

PROJECTIONS = 1000
SEED = 2020  # as torch-fidelity


def mind(*, fake: Tensor, real: Tensor, projections: int = PROJECTIONS, seed: int = SEED) -> Tensor:
    """MIND of float [N, D] and [M, D] features, float64 [], >= 0; Berthet et al. 2026.

    With N and M unequal, as many as the smaller side has are drawn from the other one.
    """
    fake, real = valid_pair(fake, real)
    fakes, reals, directions = _draw(len(fake), len(real), fake.shape[1], projections, seed)
    fake, real, total = (
        fake[fakes].double(),
        real[reals].double(),
        torch.zeros((), dtype=torch.float64),
    )
    for some in directions.split(rows_per_block(len(fake))):
        x, y = (some @ fake.T).sort(dim=1).values, (some @ real.T).sort(dim=1).values
        total += (x - y).square().mean(dim=1).sum()
    return 3 * fake.shape[1] * total / projections


def mind_without(
    *, fake: Tensor, real: Tensor, groups: Tensor, projections: int = PROJECTIONS, seed: int = SEED
) -> Tensor:
    """MIND with each group of generated images left out in turn, float64 [G]; groups int [N], 0 ..
    G - 1.

    Images and directions stay those that were drawn for all: a new draw for each group would add
    its own noise. The reference keeps its count, so the two sides differ in theirs, and the sorted
    values are matched by their share of the whole.
    """
    fake, real = valid_pair(fake, real)
    fakes, reals, directions = _draw(len(fake), len(real), fake.shape[1], projections, seed)
    fake, real, member, count = (
        fake[fakes].double(),
        real[reals].double(),
        groups[fakes],
        int(groups.max()) + 1,
    )
    total = torch.zeros(count, dtype=torch.float64)
    matches = [_matches(int((member != group).sum()), len(real)) for group in range(count)]
    for some in directions.split(rows_per_block(len(fake))):
        x, order = (some @ fake.T).sort(dim=1)
        y, owner = (some @ real.T).sort(dim=1).values, member[order]
        for group, (of_x, of_y, share) in enumerate(matches):
            left = x[owner != group].view(len(some), -1)
            total[group] += ((left[:, of_x] - y[:, of_y]).square() @ share).sum()
    return 3 * fake.shape[1] * total / projections


def describe(*, fake: int, real: int = 0) -> str:
    """What was done with so many images, for the note of a row."""
    used = min(fake, real)
    return f"{PROJECTIONS} directions, {used} of {fake} images against {used} of {real} stored reference images, seed {SEED}"


def _draw(
    fakes: int, reals: int, dimension: int, projections: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The rows that are used on either side, int [n] each, and unit directions, float64
    [projections, D].
    """
    generator, used = torch.Generator().manual_seed(seed), min(fakes, reals)
    chosen = [
        torch.randperm(count, generator=generator)[:used] if count > used else torch.arange(used)
        for count in (fakes, reals)
    ]
    directions = torch.randn(projections, dimension, generator=generator, dtype=torch.float32)
    return (
        chosen[0],
        chosen[1],
        (directions / directions.norm(dim=1, keepdim=True).clamp_min(1e-12)).double(),
    )


def _matches(n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Optimal transport of n to m equal masses on a line: places among the sorted values of either
    side, and the mass moved.
    """
    edges = torch.cat(
        [torch.arange(n + 1) * m, torch.arange(m + 1) * n]
    ).unique()  # in units of 1 / (n m)
    return edges[:-1] // m, edges[:-1] // n, edges.diff().double() / (n * m)


MIND = Metric(
    "mind",
    mind,
    "pool",
    "inception",
    "lower",
    "https://arxiv.org/abs/2605.06797",
    title="MIND",
    meaning="Wasserstein distance to the reference images along many random directions.",
    range=(0.0, math.inf),
    leave_out=mind_without,
    describe=describe,
    depends_on_count=True,
    from_zero=True,
)
