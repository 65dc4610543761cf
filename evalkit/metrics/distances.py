"""Squared distances between rows of features: bounded in float32, decided in float64.

A float32 product of D terms, summed in any order, has an error of at most D u |x| |y| with
u = 2^-24 (to first order; Higham 2002, *Accuracy and Stability of Numerical Algorithms*, section
3.1). For centred features this is a few parts in ten thousand of a squared distance, which is
enough to rule out almost every pair. The remaining pairs, and all distances that are returned, are
computed again as float64 sums of squared differences. All results are therefore those of float64
arithmetic.

All distances here are squared, and all matrices are computed in tiles or blocks of bounded memory.
`neighbours` and `balls` build on this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from evalkit.metrics.numeric import cached_rows, mean_of, products, rows_per_block, single_is_exact

# Rows and columns of a tile. Half of a symmetric matrix is skipped, except in diagonal tiles.
_TILE = 512
_PAIRS = 32  # pairs whose difference is computed at once; small enough for the processor's cache
_MOST_EXACT = 1024  # pairs per row up to which differences are cheaper than a float64 product


@dataclass(frozen=True)
class Sides:
    """Two sets of features, and both centred and scaled in the type of the search."""

    points: Tensor  # float [N, D]
    x: Tensor  # [N, D], points centred and scaled
    squares_x: Tensor  # float64 [N], squared norms of x
    others: Tensor  # float [M, D]
    y: Tensor  # [M, D], others centred and scaled
    squares_y: Tensor  # float64 [M]
    scale: float

    @classmethod
    def of(cls, points: Tensor, others: Tensor) -> Sides:
        # The centre need not be the exact mean: distances stay the same for any common centre.
        centre = mean_of(others)
        scale = _scale(points, others, centre)
        x = _single(points, centre, scale)
        y = x if points is others else _single(others, centre, scale)
        return cls(points, *x, others, *y, scale)

    @property
    def error(self) -> float:
        """e, with |computed - true| <= e (x^2 + y^2) for every squared distance."""
        # D u for the product and D u for the squares, which are sums of D terms; the rest is for
        # centring and adding up.
        return (2 * self.x.shape[1] + 16) * torch.finfo(self.x.dtype).eps / 2

    @property
    def step(self) -> int:
        """Rows of a strip, which is as wide as the second set."""
        return min(_TILE, rows_per_block(len(self.others)))

    def swapped(self) -> Sides:
        """The same with the two sets exchanged."""
        first = self.points, self.x, self.squares_x
        return Sides(self.others, self.y, self.squares_y, *first, self.scale)

    def side(self) -> int:
        """Rows of a square tile."""
        most = _TILE if len(self.x) <= 8 * _TILE else 2 * _TILE
        return max(1, min(most, math.isqrt(rows_per_block(1))))

    def tiles(self) -> list[tuple[slice, slice]]:
        """Rows and columns of square tiles: products are faster on them than on long strips."""
        side = self.side()
        return [
            (slice(top, top + side), slice(left, left + side))
            for top in range(0, len(self.x), side)
            for left in range(0, len(self.y), side)
        ]

    def products(self, rows: slice, columns: slice = slice(None)) -> Tensor:
        """-2 x.y for a block of rows and columns."""
        return products(self.x[rows] * -2, self.y[columns])


def exact(points: Tensor, others: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Squared distances of pairs (points[row[p]], others[column[p]]), float64 [P].

    They are sums of squared differences in float64.
    """
    found = torch.empty(len(row), dtype=torch.float64, device=points.device)
    for start in range(0, len(row), _PAIRS):
        part = slice(start, start + _PAIRS)
        difference = points.index_select(0, row[part]).double()
        difference.sub_(others.index_select(0, column[part]).double())
        found[part] = difference.mul_(difference).sum(dim=1)
    return found


def wide_distances(points: Tensor, others: Tensor, rows: Tensor) -> Tensor:
    """Squared distances float64 [rows, M] of points[rows] by a float64 product.

    Where the product loses digits by cancellation, they are computed again by differences. Values
    up to 1e-12 of the squared norms are rounding errors of zero and become zero: such images are
    copies of each other.
    """
    centre, exact_pairs = mean_of(others), 0
    x = points[rows].double() - centre
    squares_x, found = x.square().sum(dim=1, keepdim=True), []
    for start in range(0, len(others), step := cached_rows(others.shape[1])):
        y = others[start : start + step].double() - centre
        scale = squares_x + y.square().sum(dim=1)
        squared = scale - 2 * (x @ y.T)
        squared = torch.where(squared <= 1e-12 * scale, 0.0, squared)
        row, column = ((squared > 0) & (squared <= 1e-4 * scale)).nonzero(as_tuple=True)
        exact_pairs += len(row)
        if exact_pairs <= _MOST_EXACT * len(rows):
            squared[row, column] = exact(points, others, rows[row], column + start)
        found.append(squared)
    return torch.cat(found, dim=1)


def _scale(points: Tensor, others: Tensor, centre: Tensor) -> float:
    """1, or a power of two that prevents overflow and underflow of float32 squares."""
    ends = [float(end.double().abs()) for side in (points, others) for end in side.aminmax()]
    exponent = math.frexp(max(*ends, float(centre.abs().max())))[1]
    return 1.0 if abs(exponent) <= 20 else 2.0**-exponent


def _single(features: Tensor, centre: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Centred and scaled features [N, D], float32 if its products are exact, else float64.

    And their squared norms, float64 [N].
    """
    dtype = torch.float32 if single_is_exact() else torch.float64
    centred = torch.empty(features.shape, dtype=dtype, device=features.device)
    squares = torch.empty(len(features), dtype=torch.float64, device=features.device)
    step = cached_rows(features.shape[1])
    centre = centre.to(features.dtype)
    for start in range(0, len(features), step):
        rows = slice(start, start + step)
        block = features[rows] - centre
        centred[rows] = block if scale == 1.0 else block.double() * scale
        squares[rows] = centred[rows].square().sum(dim=1)
    return centred, squares
