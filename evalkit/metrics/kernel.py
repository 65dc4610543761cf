"""Kernel inception distance: unbiased squared MMD with the cubic kernel (x.y / D + 1)^3.

Binkowski et al. 2018, https://arxiv.org/abs/1801.01401. The usual value is the mean over 100 random
subsets of 1,000 images on each side. Below 1,000 images, torch-fidelity raises an error and
clean-fid silently uses smaller subsets. evalkit then uses all images at once (the unbiased estimate
on the full samples, of lower variance), and `describe` states it.

One kernel matrix K holds the sums of all subsets: with the 0/1 vector s of a subset, the sum over
its pairs is s^T K s. If this is less work than the subsets one by one (up to a few thousand
images), it is done in float64. Otherwise each subset is computed by itself from float32 products of
centred features; the terms that centring removes are added in float64, and all sums are float64.
The rounding errors are then about 1e-11, a thousandth of those of float32 sums.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evalkit.core import EvalkitError, Metric
from evalkit.metrics.memoized import memoized
from evalkit.metrics.numeric import (
    at_least,
    cached_rows,
    mean_of,
    products,
    rows_per_block,
    single_is_exact,
    valid_pair,
)

SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 2020  # as in torch-fidelity
MOST_FOR_PAIRS = 5000  # images up to which the interval uses all pairs
PARTNERS = 2000  # above, every image is compared with this many others, drawn once
_STRIP = 128  # rows computed at once; of a symmetric matrix only the part right of the diagonal
_SQUARE = 2**21  # entries up to which a symmetric matrix is computed at once


@memoized
def kid(
    *,
    fake: Tensor,
    real: Tensor,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = SEED,
) -> Tensor:
    """KID of float [N, D] and [M, D] features, float64 [] (may be negative); eq. 4.

    Subsets are drawn without replacement by RandomState(seed) in torch-fidelity's order. With fewer
    than `subset_size` images on a side: one estimate from all images.
    """
    if min(len(fake), len(real)) < subset_size:
        return kid_of_all(fake=fake, real=real)
    fake, real = valid_pair(fake, real)
    random = np.random.RandomState(seed)
    of_fake, of_real = [], []
    for _ in range(subsets):
        for side, chosen in ((fake, of_fake), (real, of_real)):
            rows = random.choice(len(side), subset_size, replace=False)
            chosen.append(torch.from_numpy(rows))
    centre = mean_of(real)
    centred_fake, centred_real = _Centred(fake, centre), _Centred(real, centre)
    most = subsets * subset_size**2 / 2  # float64 products take twice the time of float32
    one_by_one = [len(fake) ** 2 > most, len(real) ** 2 > most, len(fake) * len(real) > most]
    sums = torch.zeros(3, subsets, dtype=torch.float64)  # within fake, within real, between them
    if any(one_by_one):
        for subset, chosen in enumerate(zip(of_fake, of_real, strict=True)):
            x, y = centred_fake.rows(chosen[0]), centred_real.rows(chosen[1])
            parts = (x.off_diagonal_sum, y.off_diagonal_sum, lambda x=x, y=y: x.sums(y).sum())
            for part in range(3):
                if one_by_one[part]:
                    sums[part, subset] = parts[part]()
    for part, (side, chosen) in enumerate(((fake, of_fake), (real, of_real))):
        if not one_by_one[part]:
            sums[part] = _pair_sums(side.double(), _members(len(side), chosen)).diagonal()
    if not one_by_one[2]:
        members = _members(len(fake), of_fake), _members(len(real), of_real)
        sums[2] = _cross_sums(fake, real, *members)
    return _unbiased(sums[0], sums[1], sums[2], subset_size, subset_size).mean()


def kid_of_all(*, fake: Tensor, real: Tensor) -> Tensor:
    """The unbiased estimate of the same quantity from all pairs of the images, float64 []."""
    fake, real = valid_pair(fake, real)
    at_least(min(len(fake), len(real)), 2, "generated or reference")
    of_fake, of_real = (torch.ones(len(side), 1, dtype=torch.float64) for side in (fake, real))
    cross = _cross_sums(fake, real, of_fake, of_real).sum()
    return _unbiased(_within(fake), _within(real), cross, len(fake), len(real))


@memoized
def kid_without(*, fake: Tensor, real: Tensor, groups: Tensor) -> Tensor:
    """`kid_of_all` without each group of generated images, float64 [G]; groups int [N], 0 .. G - 1.

    Up to 5,000 images, all G values come from one pass over all pairs. Above, they are first-order
    values (the derivative of KID with respect to the weight of every image, Hoeffding's projection)
    and each image is compared with 2,000 others only, so that the cost is proportional to N; see
    `approximation`.
    """
    fake, real = valid_pair(fake, real)
    if len(fake) > MOST_FOR_PAIRS:
        member = torch.nn.functional.one_hot(groups, int(groups.max()) + 1).double()  # [N, G]
        return _first_order(fake, real, member)
    return _without(fake, real, groups, ~torch.eye(int(groups.max()) + 1, dtype=torch.bool))


def kid_without_pairs(*, fake: Tensor, real: Tensor, groups: Tensor) -> Tensor:
    """`kid_of_all` without each two groups, float64 [G (G - 1) / 2]; see `Metric.leave_out_pairs`.

    Raises EvalkitError above 5,000 images, where not all pairs of images are compared, and where
    the value is of subsets above 2,000, as their random choice has a second-order variance, too: at
    5,000 images, about as much again as that of the images.
    """
    fake, real = valid_pair(fake, real)
    most = MOST_FOR_PAIRS if len(real) < SUBSET_SIZE else 2 * SUBSET_SIZE
    if len(fake) > most:
        raise EvalkitError(
            f"Found {len(fake)} generated images; expected {most} at most.", code="metrics-6"
        )
    count = int(groups.max()) + 1
    one, other = torch.triu_indices(count, count, 1)
    every = torch.arange(count)
    return _without(fake, real, groups, (every != one[:, None]) & (every != other[:, None]))


def _without(fake: Tensor, real: Tensor, groups: Tensor, kept: Tensor) -> Tensor:
    """`kid_of_all` of the images in some of the groups only, float64 [K]; kept: bool [K, G]."""
    pairs, cross, sizes = _group_sums(fake, real, groups)
    chosen = kept.double()
    within = ((chosen @ pairs) * chosen).sum(dim=1)
    return _unbiased(within, _within(real), chosen @ cross, chosen @ sizes, len(real))


@memoized
def _group_sums(fake: Tensor, real: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of the kernel of the images of each group, and the sizes of the groups [G].

    Over pairs of different images, by group, [G, G]; and over pairs with a reference image [G].
    """
    member = torch.nn.functional.one_hot(groups, int(groups.max()) + 1).double()  # [N, G]
    wide_fake, wide_real = fake.double(), real.double()
    pairs = _pair_sums(wide_fake, member)
    blocks = wide_fake.split(_rows(len(real)))
    cross = member.T @ torch.cat([_kernel(rows, wide_real).sum(dim=1) for rows in blocks])
    return pairs, cross, member.sum(dim=0)


def _first_order(fake: Tensor, real: Tensor, member: Tensor) -> Tensor:
    """KID without each group to first order, from a sample of pairs; member float64 [N, G]."""
    sizes, centre = member.sum(dim=0), mean_of(real)
    drawn = torch.from_numpy(np.random.RandomState(0).permutation(len(fake))[:PARTNERS])
    images, references = _Centred(fake, centre), _Centred(real, centre)
    partners = images.rows(drawn)
    others = torch.full((len(fake),), float(PARTNERS), dtype=torch.float64)
    others[drawn] -= 1
    within, cross = images.sums(partners), images.sums(references)
    within[drawn] -= partners.diagonal()
    within, cross = within / others, cross / len(real)
    within_real = references.off_diagonal_sum() / (len(real) * (len(real) - 1))
    total = within.mean() + within_real - 2 * cross.mean()
    influence = 2 * (within - cross)
    change = influence.mean() - member.T @ influence / sizes
    return total + sizes / (len(fake) - sizes) * change


def approximation(*, fake: int, dimension: int = 0) -> str:
    """How `kid_without` approximates its values for this many images; "" where it is exact."""
    exact = fake <= MOST_FOR_PAIRS
    return "" if exact else f"first-order values, each image against {PARTNERS:,} others"


def describe(*, fake: int, real: int) -> str:
    """The note of a row."""
    if min(fake, real) < SUBSET_SIZE:
        return (
            f"unbiased estimate from all images at once ({fake} against {real});"
            f" the usual {SUBSETS} subsets need {SUBSET_SIZE} images on each side"
        )
    return f"mean of {SUBSETS} subsets of {SUBSET_SIZE}, seed {SEED}, {fake} against {real}"


# --- sums of the kernel in float64 ---
def _members(count: int, subsets: list[Tensor]) -> Tensor:
    """0/1 vectors of subsets of rows, float64 [N, subsets]."""
    member = torch.zeros(count, len(subsets), dtype=torch.float64)
    for subset, rows in enumerate(subsets):
        member[rows, subset] = 1.0
    return member


def _cross_sums(fake: Tensor, real: Tensor, of_fake: Tensor, of_real: Tensor) -> Tensor:
    """Sums of the kernel over pairs of the two sides, float64 [S].

    The pairs are weighted by 0/1 weights float64 [N, S] and [M, S].
    """
    wide, total = real.double(), torch.zeros(of_fake.shape[1], dtype=torch.float64)
    step = _rows(len(real))
    for rows, weights in zip(fake.split(step), of_fake.split(step), strict=True):
        total += (weights * (_kernel(rows.double(), wide) @ of_real)).sum(dim=0)
    return total


@memoized
def _within(features: Tensor) -> Tensor:
    """The sum of the kernel over all pairs of different rows of [N, D], float64 []."""
    every = torch.ones(len(features), 1, dtype=torch.float64)
    return _pair_sums(features.double(), every).sum()


def _pair_sums(x: Tensor, member: Tensor) -> Tensor:
    """Sums of the kernel over pairs of different rows, [G, G].

    The rows have float64 weights [N, G]. Only the part right of the diagonal is computed.
    """
    pairs = torch.zeros(member.shape[1], member.shape[1], dtype=torch.float64)
    diagonal = member.T @ (x.square().sum(dim=1) / x.shape[1] + 1).pow(3)
    step = _rows(len(x))
    for start in range(0, len(x), step):
        rows = member[start : start + step]
        block = _kernel(x[start : start + step], x[start:])
        square = rows.T @ block[:, : len(rows)] @ rows
        right = rows.T @ (block[:, len(rows) :] @ member[start + step :])
        pairs += square + right + right.T
    return pairs - diagonal.diag()


def _rows(columns: int) -> int:
    return min(_STRIP, rows_per_block(columns))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return products(x, y).div_(x.shape[1]).add_(1).pow_(3)


def _unbiased(xx: Tensor, yy: Tensor, xy: Tensor, n: int | Tensor, m: int | Tensor) -> Tensor:
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)


# --- sums of the kernel with float32 products ---
class _Centred:
    """Features whose products are computed in float32 after centring.

    x.y = (x - c).(y - c) + x.c + y.c - c.c, where all terms but the first are float64.
    """

    def __init__(self, features: Tensor, centre: Tensor) -> None:
        self.features = features
        self.centre: Tensor | None = centre.to(features.dtype)  # None: they are centred
        centre = self.centre.double()
        self.shift = torch.empty(len(features), dtype=torch.float64)  # x.c - c.c / 2
        self.square = torch.empty(len(features), dtype=torch.float64)
        step = cached_rows(features.shape[1])
        for start in range(0, len(features), step):
            wide = features[start : start + step].double()
            self.shift[start : start + step] = wide @ centre - centre.square().sum() / 2
            self.square[start : start + step] = wide.square().sum(dim=1)

    def rows(self, rows: Tensor) -> _Centred:
        """Some of the rows, which are centred once for all their sums."""
        part = object.__new__(_Centred)
        part.features, part.centre = self._centred(self.features[rows]), None
        part.shift, part.square = self.shift[rows], self.square[rows]
        return part

    def diagonal(self) -> Tensor:
        """The kernel of every row with itself, float64 [N]."""
        return (self.square / self.features.shape[1] + 1).pow(3)

    def sums(self, other: _Centred) -> Tensor:
        """Sum of the kernel of every row with all rows of the other, float64 [N]."""
        step, y = 4 * _rows(len(other.features)), other._centred()
        blocks = zip(self.features.split(step), self.shift.split(step), strict=True)
        kernels = (_shifted(self._centred(x), y, shift, other.shift) for x, shift in blocks)
        return torch.cat([kernel.sum(dim=1) for kernel in kernels])

    def off_diagonal_sum(self) -> Tensor:
        """Sum of the kernel over all pairs of two rows, float64 []."""
        x, shift = self._centred(), self.shift
        # BLAS needs half the work for x x^T.
        step = len(x) if len(x) ** 2 <= _SQUARE else _rows(len(x))
        total = torch.zeros((), dtype=torch.float64)
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            block = _shifted(x[part], x[start:], shift[part], shift[start:])
            total += 2 * block.sum() - block[:, : len(block)].sum()
        return total - self.diagonal().sum()

    def _centred(self, rows: Tensor | None = None) -> Tensor:
        rows = self.features if rows is None else rows
        if self.centre is None:
            return rows
        centred = rows - self.centre
        return centred.float() if single_is_exact() else centred.double()


def _shifted(x: Tensor, y: Tensor, shift_x: Tensor, shift_y: Tensor) -> Tensor:
    """The kernel, float64 [rows, columns], of centred rows and their shifts."""
    # The sum of float32 and float64 is float64.
    product = products(x, y) / x.shape[1] + (shift_x / x.shape[1] + 1)[:, None]
    return product.add_(shift_y / x.shape[1]).pow_(3)


KID = Metric(
    "kid", kid, "pool", "inception", "lower", "https://arxiv.org/abs/1801.01401",
    title="KID",
    question="How close are the images, as a set, to real ones, without bias at small counts?",
    meaning="Kernel distance to the reference images; unbiased, so it can be below zero.",
    leave_out=kid_without,
    leave_out_pairs=kid_without_pairs,
    approximation=approximation,
    describe=describe,
    from_zero=True,
)  # fmt: skip
