"""k-NN ball membership."""

from __future__ import annotations

import torch
from torch import Tensor

from evalkit.metrics.distances import Sides, exact, wide_distances

_CROWD = 64  # undecided pairs per row from which a float64 product is faster than differences


def covered(
    points: Tensor, centres: Tensor, squared_radii: Tensor, *, strict: bool = False
) -> Tensor:
    """Which points lie in at least one ball, bool [N].

    points float [N, D], centres float [M, D], squared_radii float64 [M]. The boundary belongs to
    the ball, unless `strict`.
    """
    sides = Sides.of(points, centres)
    balls = _Balls(sides, squared_radii, strict)
    inside = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for rows, columns in sides.tiles():
        low = balls.low(sides.products(rows, columns), columns)
        _mark(balls, low, rows.start, columns.start, inside)
    return inside


def in_each_others_balls(
    one: Tensor, other: Tensor, squared_radii: Tensor, squared_radii_of_other: Tensor
) -> tuple[Tensor, Tensor]:
    """Which of `one` lie in a ball of `other`, bool [N], and the reverse, bool [M].

    The radii are those around the points of each set, [N] and [M]. Both answers come from one
    product.
    """
    sides = Sides.of(one, other)
    balls = _Balls(sides, squared_radii_of_other, False)
    balls_back = _Balls(sides.swapped(), squared_radii, False)
    inside = torch.zeros(len(one), dtype=torch.bool, device=one.device)
    inside_back = torch.zeros(len(other), dtype=torch.bool, device=one.device)
    for rows, columns in sides.tiles():
        tile = sides.products(rows, columns)
        _mark(balls, balls.low(tile, columns), rows.start, columns.start, inside)
        tile += balls_back.bias[rows, None]
        _mark(balls_back, tile.T, columns.start, rows.start, inside_back)
    return inside, inside_back


def balls_around(
    points: Tensor, centres: Tensor, squared_radii: Tensor, *, strict: bool = False
) -> Tensor:
    """The number of balls in which each point lies, int64 [N]; arguments as for `covered`."""
    sides = Sides.of(points, centres)
    balls = _Balls(sides, squared_radii, strict)
    counts = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    for start in range(0, len(points), sides.step):
        rows = slice(start, start + sides.step)
        low = balls.low(sides.products(rows))
        undecided = low <= balls.reach[rows, None]
        certain = low.add_(balls.slack) < balls.sure[rows, None]
        counts[rows] = certain.sum(dim=1)
        undecided &= ~certain
        crowded = undecided.sum(dim=1) > _CROWD
        row, column = (undecided & ~crowded[:, None]).nonzero(as_tuple=True)
        counts.index_add_(0, row + start, balls.contain(row + start, column).long())
        crowd = crowded.nonzero().flatten() + start
        if len(crowd):
            counts[crowd] = balls.compare(wide_distances(points, centres, crowd)).sum(dim=1)
    return counts


def pairs_within(
    points: Tensor, centres: Tensor, squared_radii: Tensor, start: int, stop: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of points[start:stop] and centres whose point lies in the ball of the centre.

    Returns the row in `points`, the column in `centres` and the squared distance, each [P]. Call it
    with `rows_per_block(len(centres))` rows at once. The number of pairs grows with the overlap of
    the balls, so use it only if the distances themselves are needed.
    """
    sides = Sides.of(points[start:stop], centres)
    balls = _Balls(sides, squared_radii, False)
    possible = balls.low(sides.products(slice(None))) <= balls.reach[:, None]
    row, column = possible.nonzero(as_tuple=True)
    if len(row) > _CROWD * len(sides.points):
        every = torch.arange(len(sides.points), device=points.device)
        squared = wide_distances(sides.points, centres, every)[row, column]
    else:
        squared = exact(sides.points, centres, row, column)
    keep = squared <= squared_radii[column]
    return row[keep] + start, column[keep], squared[keep]


class _Balls:
    """Bounds of (squared distance - squared radius) for balls around sides.others.

    With x and y the norms, r the radius, d the distance and e the error of `sides`:

    x^2 (1 - e) + [y^2 - r^2 - e (y^2 + r^2)] - 2 x.y
        <= d^2 - r^2
        <= the same + 2 e (x^2 + y^2 + r^2)
    """

    def __init__(self, sides: Sides, squared_radii: Tensor, strict: bool) -> None:
        self.sides, self.radii, self.strict = sides, squared_radii, strict
        dtype, error, radii = sides.x.dtype, sides.error, squared_radii * sides.scale**2
        wide = sides.squares_y + radii.clamp_min(0)
        self.bias = (sides.squares_y - radii - error * wide).to(dtype)  # [M]
        self.slack = (2 * error * wide).to(dtype)  # [M]
        # [N]: a point may be inside if low <= reach, and is inside if low + slack < sure.
        self.reach = (-(1 - error) * sides.squares_x).to(dtype)
        self.sure = (-(1 + error) * sides.squares_x).to(dtype)

    def low(self, products: Tensor, columns: slice = slice(None)) -> Tensor:
        """The term of the lower bound that depends on both, from -2 x.y."""
        return products + self.bias[columns]

    def contain(self, row: Tensor, column: Tensor) -> Tensor:
        """Whether points[row] lies in the ball around others[column], bool [P]; exact."""
        squared = exact(self.sides.points, self.sides.others, row, column)
        radii = self.radii[column]
        return squared < radii if self.strict else squared <= radii

    def compare(self, squared: Tensor) -> Tensor:
        """bool [rows, M] for whole rows of squared distances."""
        return squared < self.radii if self.strict else squared <= self.radii


def _mark(balls: _Balls, low: Tensor, first_row: int, first_column: int, inside: Tensor) -> None:
    """Mark in `inside` which points of a block lie in a ball of the block.

    For most points, one exact distance decides: that of the smallest bound.
    """
    smallest, at = low.min(dim=1)
    block = slice(first_row, first_row + len(low))
    rows = ((smallest <= balls.reach[block]) & ~inside[block]).nonzero().flatten()
    hit = balls.contain(rows + first_row, at[rows] + first_column)
    inside[rows[hit] + first_row] = True
    rows = rows[~hit]
    row, column = (low[rows] <= balls.reach[rows + first_row, None]).nonzero(as_tuple=True)
    if len(row) > _CROWD * max(1, len(rows)):
        squared = wide_distances(balls.sides.points, balls.sides.others, rows + first_row)
        inside[rows + first_row] = balls.compare(squared).any(dim=1)
        return
    row = rows[row] + first_row
    inside[row[balls.contain(row, column + first_column)]] = True
