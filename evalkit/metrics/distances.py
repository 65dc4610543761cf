"""Squared distances between rows of features: bounded in float32, decided in float64.

A float32 product of D terms, summed in any order, is off by at most D u |x| |y| with u = 2^-24 (to
first order; Higham 2002, *Accuracy and Stability of Numerical Algorithms*, section 3.1). With the
features centred that is a few parts in ten thousand of a squared distance: enough to rule out
almost every pair. The few pairs that it leaves open, and all distances that are returned, are
computed again as float64 sums of squared differences, so the results are those of float64
arithmetic throughout.

All distances here are squared, and all matrices come in tiles or blocks of bounded memory.
`neighbours` and `balls` build on this.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evalkit.metrics.numeric import cached_rows, mean_of, products, rows_per_block, single_is_exact

# rows and columns of a tile; of a symmetric matrix half is spared, save in the tiles on the
# diagonal
_TILE = 512
_PAIRS = 32  # pairs whose difference is taken at once, small enough to stay near the processor
_MOST_EXACT = 1024  # pairs per row that are worth a difference even where they crowd


class Sides:
    """Two sets on one scale, centred, in the type of the search; and e with |computed - true| <= e
    (x^2 + y^2) for a distance.

    The middle needs not be the mean to the last bit: any one point taken from both sides leaves the
    distances as they are.
    """

    def __init__(self, points: Tensor, others: Tensor) -> None:
        self.points, self.others = points, others
        middle = mean_of(others)
        self.scale = _scale(points, others, middle)
        self.x, self.squares_x = _single(points, middle, self.scale)
        self.y, self.squares_y = (
            (self.x, self.squares_x) if points is others else _single(others, middle, self.scale)
        )
        # D u for the product and D u for the squares, both of which are sums of D terms; the rest
        # is centring and adding up
        self.error = (2 * self.x.shape[1] + 16) * torch.finfo(self.x.dtype).eps / 2
        self.step = min(_TILE, rows_per_block(len(others)))

    def turned(self) -> Sides:
        """The same with the sides exchanged."""
        return self._with(self.others, self.y, self.squares_y, self.points, self.x, self.squares_x)

    def own(self) -> Sides:
        """The points beside themselves."""
        return self._with(self.points, self.x, self.squares_x, self.points, self.x, self.squares_x)

    def _with(
        self,
        points: Tensor,
        x: Tensor,
        squares_x: Tensor,
        others: Tensor,
        y: Tensor,
        squares_y: Tensor,
    ) -> Sides:
        made = object.__new__(Sides)
        made.points, made.x, made.squares_x, made.others, made.y, made.squares_y = (
            points,
            x,
            squares_x,
            others,
            y,
            squares_y,
        )
        made.scale, made.error, made.step = (
            self.scale,
            self.error,
            min(_TILE, rows_per_block(len(others))),
        )
        return made

    def side(self) -> int:
        """Rows of a tile."""
        return max(
            1, min(_TILE if len(self.x) <= 8 * _TILE else 2 * _TILE, math.isqrt(rows_per_block(1)))
        )

    def tiles(self) -> list[tuple[slice, slice]]:
        """Rows and columns of square tiles, on which products are faster than on long strips."""
        side = self.side()
        starts = (
            (top, left)
            for top in range(0, len(self.x), side)
            for left in range(0, len(self.y), side)
        )
        return [(slice(top, top + side), slice(left, left + side)) for top, left in starts]

    def products(self, rows: slice, columns: slice = slice(None)) -> Tensor:
        """-2 x.y for a block of points and others."""
        return products(self.x[rows] * -2, self.y[columns])


def exact(points: Tensor, others: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Squared distances of pairs (points[row[p]], others[column[p]]) as float64 sums of squared
    differences, [P].
    """
    found = torch.empty(len(row), dtype=torch.float64, device=points.device)
    for start in range(0, len(row), _PAIRS):
        part = slice(start, start + _PAIRS)
        difference = (
            points.index_select(0, row[part])
            .double()
            .sub_(others.index_select(0, column[part]).double())
        )
        found[part] = difference.mul_(difference).sum(dim=1)
    return found


def wide_distances(points: Tensor, others: Tensor, rows: Tensor) -> Tensor:
    """Squared distances float64 [rows, M] by a float64 product, and again by differences where the
    product cancels.

    What rounding leaves of a zero distance, up to a millionth of the norms, is made zero: such
    images are copies of each other.
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


def _scale(points: Tensor, others: Tensor, middle: Tensor) -> float:
    """1, or a power of two that brings the largest entry near 1 where squares might overflow or
    vanish in float32.
    """
    ends = [float(end.double().abs()) for side in (points, others) for end in side.aminmax()]
    exponent = math.frexp(max(*ends, float(middle.abs().max())))[1]
    return 1.0 if abs(exponent) <= 20 else 2.0**-exponent


def _single(features: Tensor, middle: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Centred and scaled features in the type of the search [N, D], and their squared norms,
    float64 [N].
    """
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
