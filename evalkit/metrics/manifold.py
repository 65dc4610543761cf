"""Improved precision and recall (Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991), k =
3, distances compared by <=.

A set's manifold is the union of balls around its points, each as wide as the distance to the
point's k-th neighbour. Distances are those of float64 arithmetic and come in blocks of bounded
memory, see `distances`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evalkit.core import Metric
from evalkit.metrics.balls import covered, in_each_others_balls, pairs_within
from evalkit.metrics.neighbours import Nearest, kth_distance, nearest
from evalkit.metrics.numeric import at_least, rows_per_block, valid_pair
from evalkit.metrics.remembered import remembered

NEIGHBOURS = 3


def precision(*, fake: Tensor, real: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Precision per generated image, float64 [N]: 1 where it lies in the manifold of the real
    images, else 0; eq. 1 and 2.

    The figure of the set is the mean. fake float [N, D], real float [M, D].
    """
    fake, real = valid_pair(fake, real)
    if len(fake) <= k:  # too few for a manifold of their own, which precision does without
        return covered(fake, real, radii(real, k)).double()
    return _both(fake, real, k)[0].double()


def recall(*, fake: Tensor, real: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Recall, float64 [], 0 to 1: the share of real images in the manifold of the generated ones;
    eq. 1 and 2.
    """
    fake, real = valid_pair(fake, real)
    if len(real) <= k:
        return covered(real, fake, radii(fake, k)).double().mean()
    return _both(fake, real, k)[1].double().mean()


@remembered
def recall_without(*, fake: Tensor, real: Tensor, groups: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Recall with each group of generated images left out in turn, float64 [G]; groups int [N], 0
    .. G - 1.

    Leaving points out widens the balls of the others, so every group has its own radii.
    """
    fake, real = valid_pair(fake, real)
    count = int(groups.max()) + 1
    at_least(len(fake) - int(torch.bincount(groups).max()), k + 1, "generated (without one group)")
    wide = radii_without(fake, groups, k)  # [N, G]
    inside = torch.zeros(len(real), count, dtype=torch.bool)
    step = rows_per_block(len(fake))
    for start in range(0, len(real), step):
        row, column, squared = pairs_within(real, fake, wide.amax(dim=1), start, start + step)
        for group in range(count):
            inside[row[squared <= wide[column, group]], group] = True
    return inside.double().mean(dim=0)


@remembered
def radii(points: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Squared distance of every point of float [N, D] to its k-th neighbour, itself not counted;
    float64 [N].
    """
    at_least(len(points), k + 1, "generated or reference")
    return kth_distance(points, k)


@remembered
def _both(fake: Tensor, real: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Precision and recall of every image, bool [N] and [M]: both are read off the same distances."""
    at_least(min(len(fake), len(real)), k + 1, "generated or reference")
    return in_each_others_balls(fake, real, k)


def radii_without(points: Tensor, groups: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Squared radii with each group of points left out in turn, float64 [N, G]; -1 for a point that
    is itself left out.

    points float [N, D], groups int [N] with values 0 .. G - 1; every group must leave k + 1 points.
    """
    count = int(groups.max()) + 1
    wide = torch.full((len(points), count), torch.nan, dtype=torch.float64)
    open_rows, depth = (
        torch.arange(len(points)),
        k + 5,
    )  # enough neighbours for nearly all points; deeper for the rest
    while len(open_rows):
        depth = min(depth, len(points) - 1)
        found = (
            nearest(points, k=depth)
            if len(open_rows) == len(points)
            else _deeper(points, open_rows, depth)
        )
        outside = groups[found.index]
        for group in range(count):
            kept = (outside != group).cumsum(dim=1)
            place = (kept < k).sum(dim=1)  # of the k-th neighbour outside the group
            reached = place < depth
            values = found.squared.gather(1, place.clamp_max(depth - 1)[:, None]).flatten()
            wide[open_rows[reached], group] = values[reached]
        wide[torch.arange(len(points)), groups] = -1.0
        open_rows, depth = wide.isnan().any(dim=1).nonzero().flatten(), 4 * depth
    return wide


def _deeper(points: Tensor, rows: Tensor, depth: int) -> Nearest:
    """More neighbours of a few of the points: one more than asked for, to drop the point itself."""
    found = nearest(points[rows], points, k=min(depth + 1, len(points)))
    itself = found.index == rows[:, None]
    last = ~itself.any(dim=1)  # crowded out by copies of it: the farthest goes
    itself[last, -1] = True
    shape = (len(rows), found.index.shape[1] - 1)
    return Nearest(found.squared[~itself].view(shape), found.index[~itself].view(shape))


def describe(*, fake: int, real: int) -> str:
    """What was computed from this many images, for the note of a row."""
    return f"k = {NEIGHBOURS}, {fake} images against {real} stored reference images"


PRECISION = Metric(
    "precision",
    precision,
    "pool",
    "inception",
    "higher",
    "https://arxiv.org/abs/1904.06991",
    meaning="Share of generated images that lie among the reference images (fidelity).",
    range=(0.0, 1.0),
    describe=describe,
    depends_on_count=True,
    from_zero=True,
)
RECALL = Metric(
    "recall",
    recall,
    "pool",
    "inception",
    "higher",
    "https://arxiv.org/abs/1904.06991",
    meaning="Share of reference images that lie among the generated images (variety).",
    range=(0.0, 1.0),
    leave_out=recall_without,
    describe=describe,
    depends_on_count=True,
    from_zero=True,
)
