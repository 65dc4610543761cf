"""Kernel inception distance: unbiased squared MMD with the cubic kernel (x.y / D + 1)^3, summed in
float64.

Binkowski et al. 2018, https://arxiv.org/abs/1801.01401. The usual figure is the mean over 100
random subsets of 1,000 images a side. torch-fidelity raises below 1,000 images and clean-fid
shrinks the subsets without a word; evalkit then takes all images at once (the unbiased estimate on
the full samples, of lower variance) and `describe` says so.

One kernel matrix holds the sums of all subsets: with s the 0/1 vector of a subset, the sum over its
pairs is s^T K s. Where that is less work than the subsets one by one (up to some thousand images),
it is done in float64. Else each subset is computed by itself, from float32 products of centred
features; what centring takes away is put back in float64, and all sums are float64. That leaves
rounding errors of about 1e-11, a thousandth of those of float32 sums.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evalkit.core import Metric
from evalkit.metrics.numeric import (
    at_least,
    cached_rows,
    mean_of,
    products,
    rows_per_block,
    single_is_exact,
    valid_pair,
)
from evalkit.metrics.remembered import remembered

SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 2020  # as torch-fidelity
MOST_FOR_PAIRS = 5000  # images up to which the interval looks at every pair
PARTNERS = 2000  # beyond, every image is compared with so many others, drawn once
_STRIP = 128  # rows computed at once; of a symmetric matrix only what is right of the diagonal
_SQUARE = 2**21  # entries of a symmetric matrix up to which it is computed at once


@remembered
def kid(
    *,
    fake: Tensor,
    real: Tensor,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = SEED,
) -> Tensor:
    """KID of float [N, D] and [M, D] features, float64 [] (may be below 0); Binkowski et al. 2018,
    eq. 4.

    Subsets are drawn without replacement by RandomState(seed) in torch-fidelity's order. With fewer
    than `subset_size` images on a side: one estimate from all images.
    """
    if min(len(fake), len(real)) < subset_size:
        return kid_of_all(fake=fake, real=real)
    fake, real = valid_pair(fake, real)
    random = np.random.RandomState(seed)
    chosen = [
        [
            torch.from_numpy(random.choice(len(side), subset_size, replace=False))
            for side in (fake, real)
        ]
        for _ in range(subsets)
    ]
    middle = mean_of(real)
    sides = [_Centred(fake, middle), _Centred(real, middle)]
    within = []
    for features, side, picked in zip((fake, real), sides, zip(*chosen, strict=True), strict=True):
        if (
            len(features) ** 2 <= subsets * subset_size**2 / 2
        ):  # float64 takes twice the time of float32
            within.append(
                _pair_sums(features.double(), _members(len(features), picked))[0].diagonal()
            )
        else:
            within.append(torch.stack([side.rows(rows).off_diagonal_sum() for rows in picked]))
    if len(fake) * len(real) <= subsets * subset_size**2 / 2:
        cross = _cross_sums(
            fake,
            real,
            *(
                _members(len(side), picked)
                for side, picked in zip((fake, real), zip(*chosen, strict=True), strict=True)
            ),
        )
    else:
        cross = torch.stack([sides[0].rows(x).sums(sides[1].rows(y)).sum() for x, y in chosen])
    return _unbiased(within[0], within[1], cross, subset_size, subset_size).mean()


def kid_of_all(*, fake: Tensor, real: Tensor) -> Tensor:
    """The unbiased estimate of the same quantity from all pairs of the N and M images at once,
    float64 [].
    """
    fake, real = valid_pair(fake, real)
    at_least(min(len(fake), len(real)), 2, "generated or reference")
    ones = [torch.ones(len(side), 1, dtype=torch.float64) for side in (fake, real)]
    within = [
        _pair_sums(side.double(), member)[0].sum()
        for side, member in zip((fake, real), ones, strict=True)
    ]
    return _unbiased(
        within[0], within[1], _cross_sums(fake, real, *ones).sum(), len(fake), len(real)
    )


@remembered
def kid_without(*, fake: Tensor, real: Tensor, groups: Tensor) -> Tensor:
    """`kid_of_all` with each group of generated images left out in turn, float64 [G]; groups int
    [N], 0 .. G - 1.

    Up to 5,000 images all G values come from one pass over all pairs. Beyond, they are the
    first-order values (the derivative of KID with respect to the weight of every image, Hoeffding's
    projection), each image compared with 2,000 others only, so that the cost grows with N and not
    with its square; see `how_without`.
    """
    fake, real = valid_pair(fake, real)
    count = int(groups.max()) + 1
    member = torch.nn.functional.one_hot(groups, count).double()  # [N, G]
    sizes = member.sum(dim=0)
    if len(fake) > MOST_FOR_PAIRS:
        middle = mean_of(real)
        drawn = torch.from_numpy(np.random.RandomState(0).permutation(len(fake))[:PARTNERS])
        images, references = _Centred(fake, middle), _Centred(real, middle)
        partners = images.rows(drawn)
        others = torch.full((len(fake),), float(PARTNERS), dtype=torch.float64)
        others[drawn] -= 1
        within, cross = images.sums(partners), images.sums(references)
        within[drawn] -= partners.diagonal()
        within, cross = within / others, cross / len(real)
        total = (
            within.mean()
            + references.off_diagonal_sum() / (len(real) * (len(real) - 1))
            - 2 * cross.mean()
        )
        pull = 2 * (within - cross)
        return total + sizes / (len(fake) - sizes) * (pull.mean() - member.T @ pull / sizes)
    wide_fake, wide_real = fake.double(), real.double()
    pairs, diagonal = _pair_sums(wide_fake, member, keep_diagonal=True)
    every = torch.ones(len(real), 1, dtype=torch.float64)
    cross = member.T @ torch.cat(
        [_kernel(rows, wide_real).sum(dim=1) for rows in wide_fake.split(_rows(len(real)))]
    )
    within_real = _pair_sums(wide_real, every)[0].sum()
    left_out = (
        2 * pairs.sum(dim=1) - pairs.diagonal() - diagonal
    )  # every pair that touches the group
    within_fake = pairs.sum() - diagonal.sum() - left_out
    return _unbiased(within_fake, within_real, cross.sum() - cross, len(fake) - sizes, len(real))


def how_without(*, fake: int, dimension: int = 0) -> str:
    """How `kid_without` finds its values for so many images; empty where it leaves the groups out
    one by one.
    """
    return (
        ""
        if fake <= MOST_FOR_PAIRS
        else f"first-order values, each image against {PARTNERS:,} others"
    )


def describe(*, fake: int, real: int) -> str:
    """What was done with so many images, for the note of a row."""
    if min(fake, real) < SUBSET_SIZE:
        return f"unbiased estimate from all images at once ({fake} against {real}); the usual {SUBSETS} subsets need {SUBSET_SIZE} a side"
    return f"mean of {SUBSETS} subsets of {SUBSET_SIZE}, seed {SEED}, {fake} against {real}"


def _members(count: int, subsets: tuple[Tensor, ...]) -> Tensor:
    """0/1 vectors of subsets of rows, float64 [N, subsets]."""
    member = torch.zeros(count, len(subsets), dtype=torch.float64)
    for subset, rows in enumerate(subsets):
        member[rows, subset] = 1.0
    return member


def _cross_sums(fake: Tensor, real: Tensor, of_fake: Tensor, of_real: Tensor) -> Tensor:
    """Sums of the kernel over pairs of the two sides by 0/1 weights [N, S] and [M, S], float64 [S]."""
    wide, total = real.double(), torch.zeros(of_fake.shape[1], dtype=torch.float64)
    for rows, weights in zip(
        fake.split(_rows(len(real))), of_fake.split(_rows(len(real))), strict=True
    ):
        total += (weights * (_kernel(rows.double(), wide) @ of_real)).sum(dim=0)
    return total


def _pair_sums(x: Tensor, member: Tensor, keep_diagonal: bool = False) -> tuple[Tensor, Tensor]:
    """Sums of the kernel over pairs of rows, [G, G], by float64 weights [N, G], the pairs of a row
    with itself left out (unless kept) and given apart, [G]. Only what is right of the diagonal is
    computed.
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
    return (pairs if keep_diagonal else pairs - diagonal.diag()), diagonal


def _rows(columns: int) -> int:
    return min(_STRIP, rows_per_block(columns))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return products(x, y).div_(x.shape[1]).add_(1).pow_(3)


class _Centred:
    """Features of which products are taken in float32 after centring: x.y = (x-c).(y-c) + x.c + y.c
    - c.c, the rest in float64.
    """

    def __init__(self, features: Tensor, middle: Tensor) -> None:
        self.features, self.middle = features, middle.to(features.dtype)
        middle = self.middle.double()
        self.shift = torch.empty(len(features), dtype=torch.float64)  # x.c - c.c / 2
        self.square = torch.empty(len(features), dtype=torch.float64)
        step = cached_rows(features.shape[1])
        for start in range(0, len(features), step):
            wide = features[start : start + step].double()
            self.shift[start : start + step] = wide @ middle - middle.square().sum() / 2
            self.square[start : start + step] = wide.square().sum(dim=1)

    def rows(self, rows: Tensor) -> _Centred:
        """Some of the rows."""
        part = object.__new__(_Centred)
        part.features, part.middle, part.shift, part.square = (
            self.features[rows],
            self.middle,
            self.shift[rows],
            self.square[rows],
        )
        return part

    def diagonal(self) -> Tensor:
        """The kernel of every row with itself, float64 [N]."""
        return (self.square / self.features.shape[1] + 1).pow(3)

    def sums(self, other: _Centred) -> Tensor:
        """Sum of the kernel of every row with all rows of the other, float64 [N]."""
        step, y = 4 * _rows(len(other.features)), other._centred()
        x = self.features.split(step)
        shifts = self.shift.split(step)
        return torch.cat(
            [
                _shifted(self._centred(rows), y, a, other.shift).sum(dim=1)
                for rows, a in zip(x, shifts, strict=True)
            ]
        )

    def off_diagonal_sum(self) -> Tensor:
        """Sum of the kernel over all pairs of two rows, float64 []."""
        x = self._centred()
        step = len(x) if len(x) ** 2 <= _SQUARE else _rows(len(x))  # BLAS halves x x^T by itself
        total = torch.zeros((), dtype=torch.float64)
        for start in range(0, len(x), step):
            block = _shifted(
                x[start : start + step],
                x[start:],
                self.shift[start : start + step],
                self.shift[start:],
            )
            total += 2 * block.sum() - block[:, : len(block)].sum()
        return total - self.diagonal().sum()

    def _centred(self, rows: Tensor | None = None) -> Tensor:
        centred = (self.features if rows is None else rows) - self.middle
        return centred.float() if single_is_exact() else centred.double()


def _shifted(x: Tensor, y: Tensor, shift_x: Tensor, shift_y: Tensor) -> Tensor:
    """The kernel, float64 [rows, columns], of centred rows and what centring took away."""
    product = torch.add(
        products(x, y) / x.shape[1], (shift_x / x.shape[1] + 1)[:, None]
    )  # float32 and float64 make float64
    return product.add_(shift_y / x.shape[1]).pow_(3)


def _unbiased(xx: Tensor, yy: Tensor, xy: Tensor, n: int | Tensor, m: int | Tensor) -> Tensor:
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)


KID = Metric(
    "kid",
    kid,
    "pool",
    "inception",
    "lower",
    "https://arxiv.org/abs/1801.01401",
    title="KID",
    meaning="Kernel distance to the reference images; unbiased, so it can be below zero.",
    leave_out=kid_without,
    approximation=how_without,
    describe=describe,
    from_zero=True,
)
