"""Improved precision and recall (Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991), k = 3, distances compared by <=.

A set's manifold is the union of balls around its points, each as wide as the distance to the point's k-th neighbour.
Distances are float64 and come in blocks of bounded memory, never as one N x M matrix.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from evalkit.metrics.numeric import at_least, checked_pair, rows_per_block

NEIGHBOURS = 3
_NEAREST = 32  # neighbours kept per point, from which the k-th one outside a group is read


def precision(*, fake: Tensor, real: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Precision per generated image, float64 [N]: 1 where it lies in the manifold of the real images, else 0; eq. 1 and 2.

    The figure of the set is the mean. fake float [N, D], real float [M, D].
    """
    fake, real = checked_pair(fake, real)
    return _covered(fake, real, radii(real, k)).double()


def recall(*, fake: Tensor, real: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Recall, float64 [], 0 to 1: the share of real images in the manifold of the generated ones; eq. 1 and 2."""
    fake, real = checked_pair(fake, real)
    return _covered(real, fake, radii(fake, k)).double().mean()


def recall_without(*, fake: Tensor, real: Tensor, groups: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Recall with each group of generated images left out in turn, float64 [G]; groups int [N], 0 .. G - 1.

    Leaving points out widens the balls of the others, so every group has its own radii.
    """
    fake, real = checked_pair(fake, real)
    count = int(groups.max()) + 1
    at_least(len(fake) - int(torch.bincount(groups).max()), k + 1, "generated (without one group)")
    wide = torch.cat([_radii_without(block, groups, count, k) for _, block in _distance_blocks(fake, fake)])  # [N, G]
    wide[torch.arange(len(fake)), groups] = -1.0  # a point that is left out covers nothing
    covered = torch.zeros(count, dtype=torch.float64)
    for _, block in _distance_blocks(real, fake):
        covered += torch.stack([(block <= wide[:, group]).any(dim=1).sum() for group in range(count)])
    return covered / len(real)


def radii(points: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Squared distance of every point of float64 [N, D] to its k-th neighbour, itself not counted; float64 [N]."""
    at_least(len(points), k + 1, "generated or reference")
    return torch.cat([block.kthvalue(k + 1, dim=1).values for _, block in _distance_blocks(points, points)])


def _covered(points: Tensor, centres: Tensor, squared_radii: Tensor) -> Tensor:
    """bool [N]: which points lie in at least one ball."""
    return torch.cat([(block <= squared_radii).any(dim=1) for _, block in _distance_blocks(points, centres)])


def _distance_blocks(x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(first row, squared distances [rows, M]) block by block. What rounding leaves of a zero distance is made zero."""
    x, y = x - y.mean(dim=0), y - y.mean(dim=0)  # less cancellation
    squares_x, squares_y = x.square().sum(dim=1), y.square().sum(dim=1)
    step = rows_per_block(len(y))
    for start in range(0, len(x), step):
        scale = squares_x[start : start + step, None] + squares_y
        squared = scale - 2 * (x[start : start + step] @ y.T)
        yield start, torch.where(squared <= 1e-12 * scale, 0.0, squared)


def _radii_without(block: Tensor, groups: Tensor, count: int, k: int) -> Tensor:
    """Squared distance to the k-th neighbour outside each group, [rows, G], from rows of the full distance matrix.

    The point itself is the first entry of its row, unless its own group is left out, where the radius is not used.
    """
    nearest = block.topk(min(_NEAREST, block.shape[1]), dim=1, largest=False, sorted=True)
    columns = []
    for group in range(count):
        outside = groups[nearest.indices] != group
        position = (outside.cumsum(dim=1) <= k).sum(dim=1)  # index of the (k + 1)-th entry outside, the point itself being the first
        found = position < nearest.values.shape[1]
        column = nearest.values.gather(1, position.clamp_max(nearest.values.shape[1] - 1)[:, None]).flatten()
        if not bool(found.all()):  # almost all near neighbours are of this group: search the whole row
            left = block[~found].masked_fill(groups == group, torch.inf)
            column[~found] = left.kthvalue(k + 1, dim=1).values
        columns.append(column)
    return torch.stack(columns, dim=1)
