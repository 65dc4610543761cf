"""Who lies in balls around whom."""

from __future__ import annotations

import torch
from torch import Tensor

from evalkit.metrics.distances import Sides, exact, wide_distances
from evalkit.metrics.neighbours import kth_of

_CROWD = 64  # undecided pairs per row from which a float64 product is cheaper than differences


def covered(
    points: Tensor, centres: Tensor, squared_radii: Tensor, *, strict: bool = False
) -> Tensor:
    """bool [N]: which of `points` float [N, D] lie in at least one ball around `centres` float [M,
    D].

    squared_radii: float64 [M]. A point on the sphere belongs to the ball, unless `strict`.
    """
    sides = Sides(points, centres)
    balls = _Balls(sides, squared_radii, strict)
    inside = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for rows, columns in sides.tiles():
        _settle(
            balls,
            balls.low(sides.products(rows, columns), columns),
            rows.start,
            columns.start,
            inside,
        )
    return inside


def in_each_others_balls(one: Tensor, other: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Which of `one` lie in a ball of `other`, bool [N], and which of `other` in a ball of `one`,
    bool [M], from one product.

    Each ball reaches to its centre's k-th neighbour in its own set.
    """
    sides = Sides(one, other)
    back = sides.turned()
    balls, balls_back = (
        _Balls(sides, kth_of(back.own(), k), False),
        _Balls(back, kth_of(sides.own(), k), False),
    )
    inside = torch.zeros(len(one), dtype=torch.bool, device=one.device)
    inside_back = torch.zeros(len(other), dtype=torch.bool, device=one.device)
    for rows, columns in sides.tiles():
        tile = sides.products(rows, columns)
        _settle(balls, balls.low(tile, columns), rows.start, columns.start, inside)
        tile += balls_back.bias[rows, None]
        _settle(balls_back, tile.T, columns.start, rows.start, inside_back)
    return inside, inside_back


def balls_around(
    points: Tensor, centres: Tensor, squared_radii: Tensor, *, strict: bool = False
) -> Tensor:
    """int64 [N]: in how many balls around `centres` float [M, D] each of `points` float [N, D]
    lies; as `covered`.
    """
    sides = Sides(points, centres)
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
        counts.index_add_(0, row + start, balls.decide(row + start, column).long())
        crowd = crowded.nonzero().flatten() + start
        if len(crowd):
            counts[crowd] = balls.compare(wide_distances(points, centres, crowd)).sum(dim=1)
    return counts


def pairs_within(
    points: Tensor, centres: Tensor, squared_radii: Tensor, start: int, stop: int
) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of points[start:stop] and centres that lie within the centre's ball: (row, column,
    squared distance), each [P].

    Rows count from 0 of `points`, of which `rows_per_block(len(centres))` should be given at once.
    For work that needs the distances themselves; there are as many pairs as the balls overlap.
    """
    sides = Sides(points[start:stop], centres)
    balls = _Balls(sides, squared_radii, False)
    row, column = (balls.low(sides.products(slice(None))) <= balls.reach[:, None]).nonzero(
        as_tuple=True
    )
    if len(row) > _CROWD * len(sides.points):
        squared = wide_distances(
            sides.points, centres, torch.arange(len(sides.points), device=points.device)
        )[row, column]
    else:
        squared = exact(sides.points, centres, row, column)
    keep = squared <= squared_radii[column]
    return row[keep] + start, column[keep], squared[keep]


class _Balls:
    """Bounds of (squared distance - squared radius) for balls around sides.others, and the exact
    answer for single pairs.

    x^2 (1 - e) + [y^2 - r^2 - e (y^2 + r^2)] - 2 x.y <= d^2 - r^2 <= the same + 2 e (x^2 + y^2 +
    r^2)
    """

    def __init__(self, sides: Sides, squared_radii: Tensor, strict: bool) -> None:
        self.sides, self.radii, self.strict = sides, squared_radii, strict
        kind, error, radii = sides.x.dtype, sides.error, squared_radii * sides.scale**2
        wide = sides.squares_y + radii.clamp_min(0)
        self.bias = (sides.squares_y - radii - error * wide).to(kind)  # [M]
        self.slack = (2 * error * wide).to(kind)  # [M]
        self.reach = (-(1 - error) * sides.squares_x).to(
            kind
        )  # [N]: a pair is possible where low <= reach
        self.sure = (-(1 + error) * sides.squares_x).to(
            kind
        )  # [N]: and certain where low + slack < sure

    def low(self, products: Tensor, columns: slice = slice(None)) -> Tensor:
        return products + self.bias[columns]

    def decide(self, row: Tensor, column: Tensor) -> Tensor:
        """bool [P]: does points[row] lie in the ball around others[column]?"""
        squared, radii = (
            exact(self.sides.points, self.sides.others, row, column),
            self.radii[column],
        )
        return squared < radii if self.strict else squared <= radii

    def compare(self, squared: Tensor) -> Tensor:
        """bool [rows, M] for whole rows of squared distances."""
        return squared < self.radii if self.strict else squared <= self.radii


def _settle(balls: _Balls, low: Tensor, first_row: int, first_column: int, inside: Tensor) -> None:
    """Mark in `inside` which points of a block lie in a ball of the block: one exact distance
    decides most of them.
    """
    edge, at = low.min(dim=1)
    rows = (
        (
            (edge <= balls.reach[first_row : first_row + len(low)])
            & ~inside[first_row : first_row + len(low)]
        )
        .nonzero()
        .flatten()
    )
    hit = balls.decide(rows + first_row, at[rows] + first_column)
    inside[rows[hit] + first_row] = True
    rows = rows[~hit]
    row, column = (low[rows] <= balls.reach[rows + first_row, None]).nonzero(as_tuple=True)
    if len(row) > _CROWD * max(1, len(rows)):
        squared = wide_distances(balls.sides.points, balls.sides.others, rows + first_row)
        inside[rows + first_row] = balls.compare(squared).any(dim=1)
        return
    row = rows[row] + first_row
    inside[row[balls.decide(row, column + first_column)]] = True
