"""MIND, the Monge Inception distance.

3 D times the mean squared Wasserstein-2 distance of the features along random directions (Berthet
et al. 2026, https://arxiv.org/abs/2605.06797). Along one direction, it is the distance of sorted
values. The 1,000 directions, and the images if one side has more, are drawn as in torch-fidelity
(after version 0.4.0), seed 2020, so that the same features give the same value. A shift of all
features by mu adds 3 D mu^2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evalkit.core import Metric
from evalkit.metrics.numeric import rows_per_block, valid_pair

PROJECTIONS = 1000
SEED = 2020  # as in torch-fidelity


def mind(*, fake: Tensor, real: Tensor, projections: int = PROJECTIONS, seed: int = SEED) -> Tensor:
    """MIND of float [N, D] and [M, D] features, float64 [], >= 0; Berthet et al. 2026.

    If N and M differ, as many images as the smaller side has are drawn from the larger one.
    """
    fake, real, _, directions = _draw(fake, real, projections, seed)
    total = torch.zeros((), dtype=torch.float64)
    for block in directions.split(rows_per_block(len(fake))):
        x, y = (block @ fake.T).sort(dim=1).values, (block @ real.T).sort(dim=1).values
        total += (x - y).square().mean(dim=1).sum()
    return 3 * fake.shape[1] * total / projections


def mind_without(
    *, fake: Tensor, real: Tensor, groups: Tensor, projections: int = PROJECTIONS, seed: int = SEED
) -> Tensor:
    """MIND without each group of generated images, float64 [G]; groups int [N], 0 .. G - 1.

    The images and directions are those drawn for the value: a new draw for each group would add
    noise. The reference keeps its count, so the two sides have different counts, and the sorted
    values are matched by their cumulative share.
    """
    fake, real, chosen, directions = _draw(fake, real, projections, seed)
    member, count = groups[chosen], int(groups.max()) + 1
    total = torch.zeros(count, dtype=torch.float64)
    matches = [_matches(int((member != group).sum()), len(real)) for group in range(count)]
    for block in directions.split(rows_per_block(len(fake))):
        x, order = (block @ fake.T).sort(dim=1)
        y, owner = (block @ real.T).sort(dim=1).values, member[order]
        for group, (of_x, of_y, share) in enumerate(matches):
            left = x[owner != group].view(len(block), -1)
            total[group] += ((left[:, of_x] - y[:, of_y]).square() @ share).sum()
    return 3 * fake.shape[1] * total / projections


def describe(*, fake: int, real: int) -> str:
    """The note of a row."""
    used = min(fake, real)
    return (
        f"{PROJECTIONS} directions, {used} of {fake} images against"
        f" {used} of {real} stored reference images, seed {SEED}"
    )


def _draw(
    fake: Tensor, real: Tensor, projections: int, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What is compared: n images of each side, and unit directions.

    Float64 [n, D] and [n, D], the rows of the generated images int [n], and float64
    [projections, D].
    """
    fake, real = valid_pair(fake, real)
    generator, used = torch.Generator().manual_seed(seed), min(len(fake), len(real))
    of_fake, of_real = (
        torch.randperm(count, generator=generator)[:used] if count > used else torch.arange(used)
        for count in (len(fake), len(real))
    )
    directions = torch.randn(projections, fake.shape[1], generator=generator, dtype=torch.float32)
    directions = directions / directions.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return fake[of_fake].double(), real[of_real].double(), of_fake, directions.double()


def _matches(n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Optimal transport of n to m equal masses on a line.

    Indices of the sorted values of either side, and the mass moved between them.
    """
    # Where a mass of either side ends, in units of 1 / (n m).
    edges = torch.cat([torch.arange(n + 1) * m, torch.arange(m + 1) * n]).unique()
    return edges[:-1] // m, edges[:-1] // n, edges.diff().double() / (n * m)


MIND = Metric(
    "mind", mind, "pool", "inception", "lower", "https://arxiv.org/abs/2605.06797",
    title="MIND",
    question="How close are the images, as a set, to real ones, in each direction of the features?",
    meaning="Wasserstein distance to the reference images along many random directions.",
    range=(0.0, math.inf),
    leave_out=mind_without,
    describe=describe,
    depends_on_count=True,
    from_zero=True,
)  # fmt: skip
