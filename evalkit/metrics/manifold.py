"""Improved precision and recall (Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991).

k = 3, distances compared by <=. The manifold of a set is the union of balls around its points; the
radius is the distance of the point to its k-th neighbour. Distances have float64 precision and are
computed in blocks of bounded memory, see `distances`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evalkit.core import Metric
from evalkit.metrics.balls import covered, in_each_others_balls, pairs_within
from evalkit.metrics.memoized import memoized
from evalkit.metrics.neighbours import Nearest, kth_distance, nearest
from evalkit.metrics.numeric import MOST_IN_PAIRS, at_least, rows_per_block, valid_pair

NEIGHBOURS = 3


def precision(*, fake: Tensor, real: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Precision per generated image, float64 [N]; eq. 1 and 2.

    1 if the image lies in the manifold of the real images, else 0. The value of the set is the
    mean. fake float [N, D], real float [M, D].
    """
    fake, real = valid_pair(fake, real)
    if len(fake) <= k:  # too few for their own manifold, which precision does not need
        return covered(fake, real, radii(real, k)).double()
    return _both(fake, real, k)[0].double()


def recall(*, fake: Tensor, real: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Recall, float64 [], 0 to 1; eq. 1 and 2.

    The share of real images in the manifold of the generated images.
    """
    fake, real = valid_pair(fake, real)
    if len(real) <= k:
        return covered(real, fake, radii(fake, k)).double().mean()
    return _both(fake, real, k)[1].double().mean()


@memoized
def recall_without(*, fake: Tensor, real: Tensor, groups: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Recall without each group of generated images, float64 [G]; groups int [N], 0 .. G - 1.

    Without some points the balls of the others are larger, so each group has its own radii.
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


@memoized
def radii(points: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Squared distance of every point of float [N, D] to its k-th neighbour, float64 [N].

    The point itself does not count.
    """
    at_least(len(points), k + 1, "generated or reference")
    return kth_distance(points, k)


@memoized
def _both(fake: Tensor, real: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Precision and recall of every image, bool [N] and [M], from the same distances."""
    at_least(min(len(fake), len(real)), k + 1, "generated or reference")
    return in_each_others_balls(fake, real, radii(fake, k), radii(real, k))


def radii_without(points: Tensor, groups: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Squared radii without each group of points, float64 [N, G]; -1 for the points of the group.

    points float [N, D], groups int [N], 0 .. G - 1; k + 1 points must remain without each group.
    """
    count = int(groups.max()) + 1
    wide = torch.full((len(points), count), torch.nan, dtype=torch.float64)
    # k + 5 neighbours are enough for nearly all points; the others are searched deeper.
    open_rows, depth = torch.arange(len(points)), k + 5
    while len(open_rows):
        depth = min(depth, len(points) - 1)
        everything = len(open_rows) == len(points)
        found = nearest(points, k=depth) if everything else _deeper(points, open_rows, depth)
        neighbour_groups = groups[found.index]
        for group in range(count):
            kept = (neighbour_groups != group).cumsum(dim=1)
            place = (kept < k).sum(dim=1)  # of the k-th neighbour outside the group
            reached = place < depth
            values = found.squared.gather(1, place.clamp_max(depth - 1)[:, None]).flatten()
            wide[open_rows[reached], group] = values[reached]
        wide[torch.arange(len(points)), groups] = -1.0
        open_rows, depth = wide.isnan().any(dim=1).nonzero().flatten(), 4 * depth
    return wide


def _deeper(points: Tensor, rows: Tensor, depth: int) -> Nearest:
    """The `depth` neighbours of points[rows], without the points themselves."""
    found = nearest(points[rows], points, k=min(depth + 1, len(points)))
    itself = found.index == rows[:, None]
    # A point with many copies may not be among its own neighbours: the farthest one is dropped.
    itself[~itself.any(dim=1), -1] = True
    shape = (len(rows), found.index.shape[1] - 1)
    return Nearest(found.squared[~itself].view(shape), found.index[~itself].view(shape))


def describe(*, fake: int, real: int) -> str:
    """The note of a row."""
    return f"k = {NEIGHBOURS}, {fake} images against {real} stored reference images"


PRECISION = Metric(
    "precision", precision, "pool", "inception", "higher", "https://arxiv.org/abs/1904.06991",
    question="How many of the images look like real ones?",
    meaning="Share of generated images that lie among the reference images (fidelity).",
    range=(0.0, 1.0),
    describe=describe,
    most=MOST_IN_PAIRS,
    depends_on_count=True,
    from_zero=True,
)  # fmt: skip
RECALL = Metric(
    "recall", recall, "pool", "inception", "higher", "https://arxiv.org/abs/1904.06991",
    question="How much of the variety of real images do the images have?",
    meaning="Share of reference images that lie among the generated images (variety).",
    range=(0.0, 1.0),
    leave_out=recall_without,
    describe=describe,
    most=MOST_IN_PAIRS,
    depends_on_count=True,
    from_zero=True,
    aspect="diversity",
)  # fmt: skip
