"""Who is near whom: searched in float32, decided in float64.

A float32 product of D terms, summed in any order, is off by at most D u |x| |y| with u = 2^-24 (to first order; Higham 2002,
*Accuracy and Stability of Numerical Algorithms*, section 3.1). With the features centred that is a few parts in ten thousand of
a squared distance: enough to rule out almost every pair. The few pairs that it leaves open, and all distances that are returned,
are computed again as float64 sums of squared differences, so the results are those of float64 arithmetic throughout.

All distances here are squared, and all matrices come in tiles or blocks of bounded memory.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.metrics.numeric import cached_rows, mean_of, products, rows_per_block, single_is_exact

SPARE = 5  # candidates kept beyond the nearest k; a row whose bound reaches the last of them is searched again in float64
_TILE = 512  # rows and columns of a tile; of a symmetric matrix half is spared, save in the tiles on the diagonal
_PAIRS = 32  # pairs whose difference is taken at once, small enough to stay near the processor
_CROWD = 64  # undecided pairs per row from which a float64 product is cheaper than differences
_MOST_EXACT = 1024  # pairs per row that are worth a difference even then


class Nearest(NamedTuple):
    """The nearest rows of another set, the nearest first; of equally near ones the first."""

    squared: Tensor  # float64 [N, k], squared Euclidean distances
    index: Tensor  # int64 [N, k]  # pyright: ignore[reportIncompatibleMethodOverride]


def nearest(points: Tensor, others: Tensor | None = None, k: int = 1) -> Nearest:
    """The k nearest of `others` float [M, D] for each of `points` float [N, D].

    Without `others`: among the points themselves, the point itself (but not a copy of it) left out. Distances are exact to
    float64 rounding. Raises EvalkitError where there are fewer than k others.
    """
    same = others is None
    others = points if others is None else others
    if len(others) - same < k:
        raise EvalkitError(f"Found {len(others)} images; {k} nearest neighbours need at least {k + same}.")
    bound, index = _search(_Sides(points, others), same, min(k + SPARE, len(others) - same))
    squared = torch.full(index.shape, torch.inf, dtype=torch.float64, device=points.device)
    rows = torch.arange(len(points), device=points.device)
    squared[:, :k] = exact(points, others, rows.repeat_interleave(k), index[:, :k].reshape(-1)).view(-1, k)
    farthest = squared[:, :k].amax(dim=1, keepdim=True)  # the k-th distance is no larger than this
    row, place = (bound[:, k:] <= farthest).nonzero(as_tuple=True)
    squared[row, place + k] = exact(points, others, row, index[row, place + k])
    crowded = rows[(bound[:, -1] <= farthest[:, 0]) & (index.shape[1] < len(others) - same)]
    squared, index = _sorted(squared, index, k)
    for part in (
        crowded.split(rows_per_block(len(others))) if len(crowded) else ()
    ):  # many pairs at almost one distance: collapsed or copied images
        squared[part], index[part] = _nearest_wide(points, others, part, same, k)
    return Nearest(squared, index)


def kth_distance(points: Tensor, k: int = 1) -> Tensor:
    """Squared distance of each of `points` float [N, D] to its k-th neighbour, itself left out; float64 [N]. As `nearest`, for less."""
    return _kth(_Sides(points, points), k)


def _kth(sides: _Sides, k: int) -> Tensor:
    """Only the neighbours that may be the k-th are looked at in float64: most often one."""
    points = sides.points
    low, index = _search(sides, True, min(k + SPARE, len(points) - 1))
    high = low + 2 * sides.error / sides.scale**2 * (sides.squares_x[:, None] + sides.squares_x[index])
    most, least = high.kthvalue(k, dim=1).values, low[:, k - 1]  # the k-th distance lies between
    nearer = high < least[:, None]
    row, place = (~nearer & (low <= most[:, None])).nonzero(as_tuple=True)
    squared = torch.full(low.shape, torch.inf, dtype=torch.float64, device=points.device)
    squared[row, place] = exact(points, points, row, index[row, place])
    found = squared.sort(dim=1).values.gather(1, (k - 1 - nearer.sum(dim=1))[:, None]).flatten()
    crowded = ((low[:, -1] <= most) & (low.shape[1] < len(points) - 1)).nonzero().flatten()
    for part in crowded.split(rows_per_block(len(points))) if len(crowded) else ():
        found[part] = _nearest_wide(points, points, part, True, k)[0][:, -1]
    return found


def exact(points: Tensor, others: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Squared distances of pairs (points[row[p]], others[column[p]]) as float64 sums of squared differences, [P]."""
    found = torch.empty(len(row), dtype=torch.float64, device=points.device)
    for start in range(0, len(row), _PAIRS):
        part = slice(start, start + _PAIRS)
        difference = points.index_select(0, row[part]).double().sub_(others.index_select(0, column[part]).double())
        found[part] = difference.mul_(difference).sum(dim=1)
    return found


def covered(points: Tensor, centres: Tensor, squared_radii: Tensor, *, strict: bool = False) -> Tensor:
    """bool [N]: which of `points` float [N, D] lie in at least one ball around `centres` float [M, D].

    squared_radii: float64 [M]. A point on the sphere belongs to the ball, unless `strict`.
    """
    sides = _Sides(points, centres)
    balls = _Balls(sides, squared_radii, strict)
    inside = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for rows, columns in sides.tiles():
        _settle(balls, balls.low(sides.products(rows, columns), columns), rows.start, columns.start, inside)
    return inside


def in_each_others_balls(one: Tensor, other: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Which of `one` lie in a ball of `other`, bool [N], and which of `other` in a ball of `one`, bool [M], from one product.

    Each ball reaches to its centre's k-th neighbour in its own set.
    """
    sides = _Sides(one, other)
    back = sides.turned()
    balls, balls_back = _Balls(sides, _kth(back.own(), k), False), _Balls(back, _kth(sides.own(), k), False)
    inside = torch.zeros(len(one), dtype=torch.bool, device=one.device)
    inside_back = torch.zeros(len(other), dtype=torch.bool, device=one.device)
    for rows, columns in sides.tiles():
        tile = sides.products(rows, columns)
        _settle(balls, balls.low(tile, columns), rows.start, columns.start, inside)
        tile += balls_back.bias[rows, None]
        _settle(balls_back, tile.T, columns.start, rows.start, inside_back)
    return inside, inside_back


def balls_around(points: Tensor, centres: Tensor, squared_radii: Tensor, *, strict: bool = False) -> Tensor:
    """int64 [N]: in how many balls around `centres` float [M, D] each of `points` float [N, D] lies; as `covered`."""
    sides = _Sides(points, centres)
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
            counts[crowd] = balls.compare(_wide_distances(points, centres, crowd)).sum(dim=1)
    return counts


def pairs_within(points: Tensor, centres: Tensor, squared_radii: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of points[start:stop] and centres that lie within the centre's ball: (row, column, squared distance), each [P].

    Rows count from 0 of `points`. For work that needs the distances themselves; there are as many pairs as the balls overlap.
    """
    sides = _Sides(points[start:stop], centres)
    balls = _Balls(sides, squared_radii, False)
    row, column = (balls.low(sides.products(slice(None))) <= balls.reach[:, None]).nonzero(as_tuple=True)
    if len(row) > _CROWD * len(sides.points):
        squared = _wide_distances(sides.points, centres, torch.arange(len(sides.points), device=points.device))[row, column]
    else:
        squared = exact(sides.points, centres, row, column)
    keep = squared <= squared_radii[column]
    return row[keep] + start, column[keep], squared[keep]


def rows_within(columns: int) -> int:
    """How many points `pairs_within` should be given at once for so many centres."""
    return rows_per_block(columns)


class _Sides:
    """Two sets on one scale, centred, in the type of the search; and e with |computed - true| <= e (x^2 + y^2) for a distance.

    The middle needs not be the mean to the last bit: any one point taken from both sides leaves the distances as they are.
    """

    def __init__(self, points: Tensor, others: Tensor) -> None:
        self.points, self.others = points, others
        middle = mean_of(others)
        self.scale = _scale(points, others, middle)
        self.x, self.squares_x = _single(points, middle, self.scale)
        self.y, self.squares_y = (self.x, self.squares_x) if points is others else _single(others, middle, self.scale)
        # D u for the product and D u for the squares, both of which are sums of D terms; the rest is centring and adding up
        self.error = (2 * self.x.shape[1] + 16) * torch.finfo(self.x.dtype).eps / 2
        self.step = min(_TILE, rows_per_block(len(others)))

    def turned(self) -> _Sides:
        """The same with the sides exchanged."""
        return self._with(self.others, self.y, self.squares_y, self.points, self.x, self.squares_x)

    def own(self) -> _Sides:
        """The points beside themselves."""
        return self._with(self.points, self.x, self.squares_x, self.points, self.x, self.squares_x)

    def _with(self, points: Tensor, x: Tensor, squares_x: Tensor, others: Tensor, y: Tensor, squares_y: Tensor) -> _Sides:
        made = object.__new__(_Sides)
        made.points, made.x, made.squares_x, made.others, made.y, made.squares_y = points, x, squares_x, others, y, squares_y
        made.scale, made.error, made.step = self.scale, self.error, min(_TILE, rows_per_block(len(others)))
        return made

    def side(self) -> int:
        """Rows of a tile."""
        return max(1, min(_TILE if len(self.x) <= 8 * _TILE else 2 * _TILE, math.isqrt(rows_per_block(1))))

    def tiles(self) -> list[tuple[slice, slice]]:
        """Rows and columns of square tiles, on which products are faster than on long strips."""
        side = self.side()
        starts = ((top, left) for top in range(0, len(self.x), side) for left in range(0, len(self.y), side))
        return [(slice(top, top + side), slice(left, left + side)) for top, left in starts]

    def products(self, rows: slice, columns: slice = slice(None)) -> Tensor:
        """-2 x.y for a block of points and others."""
        return products(self.x[rows] * -2, self.y[columns])


class _Balls:
    """Bounds of (squared distance - squared radius) for balls around sides.others, and the exact answer for single pairs.

    x^2 (1 - e) + [y^2 - r^2 - e (y^2 + r^2)] - 2 x.y <= d^2 - r^2 <= the same + 2 e (x^2 + y^2 + r^2)
    """

    def __init__(self, sides: _Sides, squared_radii: Tensor, strict: bool) -> None:
        self.sides, self.radii, self.strict = sides, squared_radii, strict
        kind, error, radii = sides.x.dtype, sides.error, squared_radii * sides.scale**2
        wide = sides.squares_y + radii.clamp_min(0)
        self.bias = (sides.squares_y - radii - error * wide).to(kind)  # [M]
        self.slack = (2 * error * wide).to(kind)  # [M]
        self.reach = (-(1 - error) * sides.squares_x).to(kind)  # [N]: a pair is possible where low <= reach
        self.sure = (-(1 + error) * sides.squares_x).to(kind)  # [N]: and certain where low + slack < sure

    def low(self, products: Tensor, columns: slice = slice(None)) -> Tensor:
        return products + self.bias[columns]

    def decide(self, row: Tensor, column: Tensor) -> Tensor:
        """bool [P]: does points[row] lie in the ball around others[column]?"""
        squared, radii = exact(self.sides.points, self.sides.others, row, column), self.radii[column]
        return squared < radii if self.strict else squared <= radii

    def compare(self, squared: Tensor) -> Tensor:
        """bool [rows, M] for whole rows of squared distances."""
        return squared < self.radii if self.strict else squared <= self.radii


def _settle(balls: _Balls, low: Tensor, first_row: int, first_column: int, inside: Tensor) -> None:
    """Mark in `inside` which points of a block lie in a ball of the block: one exact distance decides most of them."""
    edge, at = low.min(dim=1)
    rows = ((edge <= balls.reach[first_row : first_row + len(low)]) & ~inside[first_row : first_row + len(low)]).nonzero().flatten()
    hit = balls.decide(rows + first_row, at[rows] + first_column)
    inside[rows[hit] + first_row] = True
    rows = rows[~hit]
    row, column = (low[rows] <= balls.reach[rows + first_row, None]).nonzero(as_tuple=True)
    if len(row) > _CROWD * max(1, len(rows)):
        squared = _wide_distances(balls.sides.points, balls.sides.others, rows + first_row)
        inside[rows + first_row] = balls.compare(squared).any(dim=1)
        return
    row = rows[row] + first_row
    inside[row[balls.decide(row, column + first_column)]] = True


def _search(sides: _Sides, same: bool, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest lower bounds of squared distances of every row, ascending, float64 [N, k], and their columns."""
    x, y, error = sides.x, sides.y, sides.error
    bias_x, bias_y = ((1 - error) * sides.squares_x).to(x.dtype), ((1 - error) * sides.squares_y).to(x.dtype)
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
    """Update the smallest entries so far and their columns, in place, with a tile whose columns begin at `first`."""
    values, columns = low.topk(min(best.shape[1], low.shape[1]), dim=1, largest=False, sorted=False)
    values, columns = torch.cat([best, values], dim=1), torch.cat([index, columns + first], dim=1)
    values, chosen = values.topk(best.shape[1], dim=1, largest=False, sorted=False)
    best.copy_(values)
    index.copy_(columns.gather(1, chosen))


def _nearest_wide(points: Tensor, others: Tensor, rows: Tensor, same: bool, k: int) -> tuple[Tensor, Tensor]:
    """The nearest k of a few rows by a float64 product; the distances of the chosen ones are then taken exactly."""
    squared = _wide_distances(points, others, rows)
    if same:
        squared[torch.arange(len(rows), device=rows.device), rows] = torch.inf
    index = squared.topk(min(k + SPARE, len(others) - same), dim=1, largest=False).indices
    squared = exact(points, others, rows.repeat_interleave(index.shape[1]), index.reshape(-1)).view(index.shape)
    return _sorted(squared, index, k)


def _wide_distances(points: Tensor, others: Tensor, rows: Tensor) -> Tensor:
    """Squared distances float64 [rows, M] by a float64 product, and again by differences where the product cancels.

    What rounding leaves of a zero distance, up to a millionth of the norms, is made zero: such images are copies of each other.
    """
    middle, spent = mean_of(others), 0
    x = points[rows].double() - middle
    squares_x, found = x.square().sum(dim=1, keepdim=True), []
    for start in range(0, len(others), step := cached_rows(others.shape[1])):
        y = others[start : start + step].double() - middle
        scale = squares_x + y.square().sum(dim=1)
        squared = scale - 2 * (x @ y.T)
        squared = torch.where(squared <= 1e-12 * scale, 0.0, squared)
        row, column = ((squared > 0) & (squared <= 1e-4 * scale)).nonzero(as_tuple=True)
        spent += len(row)
        if spent <= _MOST_EXACT * len(rows):
            squared[row, column] = exact(points, others, rows[row], column + start)
        found.append(squared)
    return torch.cat(found, dim=1)


def _sorted(squared: Tensor, index: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest of every row in ascending order, equal ones in the order of their index."""
    index, order = index.sort(dim=1)
    squared, order = squared.gather(1, order).sort(dim=1, stable=True)
    return squared[:, :k].contiguous(), index.gather(1, order)[:, :k].contiguous()


def _scale(points: Tensor, others: Tensor, middle: Tensor) -> float:
    """1, or a power of two that brings the largest entry near 1 where squares might overflow or vanish in float32."""
    ends = [float(end.double().abs()) for side in (points, others) for end in side.aminmax()]
    exponent = math.frexp(max(*ends, float(middle.abs().max())))[1]
    return 1.0 if abs(exponent) <= 20 else 2.0**-exponent


def _single(features: Tensor, middle: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Centred and scaled features in the type of the search [N, D], and their squared norms, float64 [N]."""
    kind = torch.float32 if single_is_exact() else torch.float64
    centred = torch.empty(features.shape, dtype=kind, device=features.device)
    squares = torch.empty(len(features), dtype=torch.float64, device=features.device)
    step = cached_rows(features.shape[1])
    middle = middle.to(features.dtype)
    for start in range(0, len(features), step):
        rows = slice(start, start + step)
        block = features[rows] - middle
        centred[rows] = block if scale == 1.0 else block.double() * scale
        squares[rows] = centred[rows].square().sum(dim=1)
    return centred, squares
