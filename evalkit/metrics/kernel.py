"""Kernel inception distance: unbiased squared MMD with the cubic kernel (x.y / D + 1)^3, summed in float64.

Binkowski et al. 2018, https://arxiv.org/abs/1801.01401. The usual figure is the mean over 100 random subsets of 1,000
images a side. torch-fidelity raises below 1,000 images and clean-fid shrinks the subsets without a word; evalkit then
takes all images at once (the unbiased estimate on the full samples, of lower variance) and `describe` says so.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evalkit.metrics.numeric import at_least, checked_pair, rows_per_block

SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 2020  # as torch-fidelity


def kid(*, fake: Tensor, real: Tensor, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE, seed: int = SEED) -> Tensor:
    """KID of float [N, D] and [M, D] features, float64 [] (may be below 0); Binkowski et al. 2018, eq. 4.

    Subsets are drawn without replacement by RandomState(seed) in torch-fidelity's order. With fewer than `subset_size`
    images on a side: one estimate from all images.
    """
    if min(len(fake), len(real)) < subset_size:
        return kid_of_all(fake=fake, real=real)
    fake, real = checked_pair(fake, real)
    random, values = np.random.RandomState(seed), []
    for _ in range(subsets):
        x = fake[torch.from_numpy(random.choice(len(fake), subset_size, replace=False))]
        y = real[torch.from_numpy(random.choice(len(real), subset_size, replace=False))]
        values.append(_unbiased(_off_diagonal_sum(x), _off_diagonal_sum(y), _kernel(x, y).sum(), len(x), len(y)))
    return torch.stack(values).mean()


def kid_of_all(*, fake: Tensor, real: Tensor) -> Tensor:
    """The unbiased estimate of the same quantity from all pairs of the N and M images at once, float64 []."""
    fake, real = checked_pair(fake, real)
    at_least(min(len(fake), len(real)), 2, "generated or reference")
    return _unbiased(_off_diagonal_sum(fake), _off_diagonal_sum(real), _cross_sums(fake, real).sum(), len(fake), len(real))


def kid_without(*, fake: Tensor, real: Tensor, groups: Tensor) -> Tensor:
    """`kid_of_all` with each group of generated images left out in turn, float64 [G]; groups int [N], 0 .. G - 1.

    All G values come from one pass over the kernel matrix, summed by pairs of groups.
    """
    fake, real = checked_pair(fake, real)
    count = int(groups.max()) + 1
    member = torch.nn.functional.one_hot(groups, count).double()  # [N, G]
    pairs = torch.zeros(count, count, dtype=torch.float64)
    diagonal = torch.zeros(count, dtype=torch.float64)
    step = rows_per_block(len(fake))
    for start in range(0, len(fake), step):
        block, rows = _kernel(fake[start : start + step], fake), member[start : start + step]
        pairs += rows.T @ block @ member
        diagonal += rows.T @ block.diagonal(offset=start)
    cross = member.T @ _cross_sums(fake, real)
    within_real, sizes = _off_diagonal_sum(real), member.sum(dim=0)
    left_out = 2 * pairs.sum(dim=1) - pairs.diagonal() - diagonal  # every pair that touches the group
    within_fake = pairs.sum() - diagonal.sum() - left_out
    return _unbiased(within_fake, within_real, cross.sum() - cross, len(fake) - sizes, len(real))


def describe(*, fake: int, real: int) -> str:
    """What was done with so many images, for the note of a row."""
    if min(fake, real) < SUBSET_SIZE:
        return f"unbiased estimate from all images at once ({fake} against {real}); the usual {SUBSETS} subsets need {SUBSET_SIZE} a side"
    return f"mean of {SUBSETS} subsets of {SUBSET_SIZE}, seed {SEED}, {fake} against {real}"


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _off_diagonal_sum(x: Tensor) -> Tensor:
    return _cross_sums(x, x).sum() - (x.square().sum(dim=1) / x.shape[1] + 1).pow(3).sum()


def _cross_sums(x: Tensor, y: Tensor) -> Tensor:
    """Sum of the kernel of every row of x with all rows of y, [N], in blocks of bounded memory."""
    return torch.cat([_kernel(rows, y).sum(dim=1) for rows in x.split(rows_per_block(len(y)))])


def _unbiased(xx: Tensor, yy: Tensor, xy: Tensor, n: int | Tensor, m: int) -> Tensor:
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)
