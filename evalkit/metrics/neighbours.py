"""Nearest neighbours."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.metrics.distances import Sides, exact, wide_distances
from evalkit.metrics.numeric import products, rows_per_block

# Candidates kept in addition to the nearest k. A row whose bound reaches the last candidate is
# searched again in float64.
SPARE = 5


class Nearest(NamedTuple):
    """The nearest rows of another set, in ascending distance; ties in the order of their index."""

    squared: Tensor  # float64 [N, k], squared Euclidean distances
    index: Tensor  # int64 [N, k]  # pyright: ignore[reportIncompatibleMethodOverride]


def nearest(points: Tensor, others: Tensor | None = None, k: int = 1) -> Nearest:
    """The k nearest of `others` float [M, D] for each of `points` float [N, D].

    Without `others`: among the points themselves, except the point itself (but with its copies).
    Distances are exact to float64 rounding. Raises EvalkitError if there are fewer than k others.
    """
    same = others is None
    others = points if others is None else others
    if len(others) - same < k:
        raise EvalkitError(
            f"Too few images ({len(others)}); {k} nearest neighbours need at least {k + same}.",
            code="metrics-7",
        )
    bound, index = _search(Sides.of(points, others), same, min(k + SPARE, len(others) - same))
    squared = torch.full(index.shape, torch.inf, dtype=torch.float64, device=points.device)
    rows = torch.arange(len(points), device=points.device)
    row, column = rows.repeat_interleave(k), index[:, :k].reshape(-1)
    squared[:, :k] = exact(points, others, row, column).view(-1, k)
    farthest = squared[:, :k].amax(dim=1, keepdim=True)  # the k-th distance is at most this
    row, place = (bound[:, k:] <= farthest).nonzero(as_tuple=True)
    squared[row, place + k] = exact(points, others, row, index[row, place + k])
    crowded = rows[(bound[:, -1] <= farthest[:, 0]) & (index.shape[1] < len(others) - same)]
    squared, index = _sorted(squared, index, k)
    # Crowded rows have many others at almost one distance: collapsed or copied images.
    for part in _parts(crowded, len(others)):
        squared[part], index[part] = _nearest_wide(points, others, part, same, k)
    return Nearest(squared, index)


def kth_distance(points: Tensor, k: int = 1) -> Tensor:
    """Squared distance of each of `points` float [N, D] to its k-th neighbour, float64 [N].

    The point itself does not count. As `nearest`, but faster: only the neighbours that may be the
    k-th are computed in float64, usually one.
    """
    sides = Sides.of(points, points)
    low, index = _search(sides, True, min(k + SPARE, len(points) - 1))
    squares = sides.squares_x[:, None] + sides.squares_x[index]
    high = low + 2 * sides.error / sides.scale**2 * squares
    most, least = high.kthvalue(k, dim=1).values, low[:, k - 1]  # bounds of the k-th distance
    nearer = high < least[:, None]
    row, place = (~nearer & (low <= most[:, None])).nonzero(as_tuple=True)
    squared = torch.full(low.shape, torch.inf, dtype=torch.float64, device=points.device)
    squared[row, place] = exact(points, points, row, index[row, place])
    found = squared.sort(dim=1).values.gather(1, (k - 1 - nearer.sum(dim=1))[:, None]).flatten()
    crowded = ((low[:, -1] <= most) & (low.shape[1] < len(points) - 1)).nonzero().flatten()
    for part in _parts(crowded, len(points)):
        found[part] = _nearest_wide(points, points, part, True, k)[0][:, -1]
    return found


def _parts(rows: Tensor, columns: int) -> tuple[Tensor, ...]:
    """The rows in parts whose distances to all columns fit in one block."""
    return rows.split(rows_per_block(columns)) if len(rows) else ()


def _search(sides: Sides, same: bool, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest lower bounds of the squared distances of every row, and their columns.

    Ascending, float64 [N, k] and int64 [N, k].
    """
    x, y = sides.x, sides.y
    bias_x = ((1 - sides.error) * sides.squares_x).to(x.dtype)
    bias_y = ((1 - sides.error) * sides.squares_y).to(x.dtype)
    side = sides.side()
    best = torch.full((len(x), k), torch.inf, dtype=x.dtype, device=x.device)
    index = torch.zeros((len(x), k), dtype=torch.int64, device=x.device)
    for top in range(0, len(x), side):
        rows = slice(top, top + side)
        doubled = x[rows] * -2
        for left in range(top if same else 0, len(y), side):
            columns = slice(left, left + side)
            low = products(doubled, y[columns]).add_(bias_y[columns]).add_(bias_x[rows, None])
            if same and left == top:
                low.fill_diagonal_(torch.inf)
            _keep(best[rows], index[rows], low, left)
            if same and left > top:
                _keep(best[columns], index[columns], low.T.contiguous(), top)
    bound, order = best.double().sort(dim=1)
    return bound / sides.scale**2, index.gather(1, order)


def _keep(best: Tensor, index: Tensor, low: Tensor, first: int) -> None:
    """Update the smallest entries and their columns, in place, with the tile at column `first`."""
    values, columns = low.topk(min(best.shape[1], low.shape[1]), dim=1, largest=False, sorted=False)
    values, columns = torch.cat([best, values], dim=1), torch.cat([index, columns + first], dim=1)
    values, chosen = values.topk(best.shape[1], dim=1, largest=False, sorted=False)
    best.copy_(values)
    index.copy_(columns.gather(1, chosen))


def _nearest_wide(
    points: Tensor, others: Tensor, rows: Tensor, same: bool, k: int
) -> tuple[Tensor, Tensor]:
    """The nearest k of a few rows by a float64 product, their distances by differences."""
    squared = wide_distances(points, others, rows)
    if same:
        squared[torch.arange(len(rows), device=rows.device), rows] = torch.inf
    index = squared.topk(min(k + SPARE, len(others) - same), dim=1, largest=False).indices
    row, column = rows.repeat_interleave(index.shape[1]), index.reshape(-1)
    return _sorted(exact(points, others, row, column).view(index.shape), index, k)


def _sorted(squared: Tensor, index: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest of every row in ascending order; ties in the order of their index."""
    index, order = index.sort(dim=1)
    squared, order = squared.gather(1, order).sort(dim=1, stable=True)
    return squared[:, :k].contiguous(), index.gather(1, order)[:, :k].contiguous()
