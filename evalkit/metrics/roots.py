"""The trace of a matrix root after a few rows are removed from a scatter matrix.

The interval of FID needs it. Given the eigenvalues e of a scatter matrix S = Z^T Z of N centred
rows, and the rows of a group in the basis of its eigenvectors, `exactly` and `to_second_order`
return tr (S' / (N' - 1))^(1/2), where S' is the scatter matrix (about its own mean) of the N' rows
that are left. S' = S - U^T U, where U holds the rows of the group and one more row for the change
of the mean: their mean times n / sqrt(N - n). `interaction` is for the removal of two groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from evalkit.metrics.numeric import single_is_exact

# Rows per dimension. Above, the second order is within 1 to 4% of the standard error, and faster.
EXACT_UP_TO = 3
_WIDE_STEP = 3.0  # for the interaction: an error of 0.1%
_STEP = 1.5  # of ln t: the trapezoid rule then has an error of exp(-2 pi^2 / 1.5), 2e-6


class Group(NamedTuple):
    """n removed rows, or other rows with the same products U^T U."""

    rows: Tensor  # float64 [m, D]
    total: Tensor  # float64 [D], the sum of the removed rows
    size: int  # n

    @classmethod
    def of(cls, rows: Tensor) -> Group:
        return cls(rows, rows.sum(dim=0), len(rows))


def exactly(eigenvalues: Tensor, group: Group, count: int) -> Tensor:
    """tr (S' / (N' - 1))^(1/2), float64 [], by an integral; NaN if rounding errors dominate.

    eigenvalues [D], N = count.

    tr S'^(1/2) = tr S^(1/2) + 1 / (2 pi) * integral of t^(-1/2) ln det(I - U (S + t)^-1 U^T) dt
    over t > 0, since d/dt ln det of S + t and of S' + t are the traces of their inverses. The
    determinant is of the size of the group. With t = exp(s) the integrand is smooth and falls off
    at both ends, where its series in t and 1 / t give the rest.
    """
    rows = _with_mean(group, count)
    root = eigenvalues.sqrt().sum()
    low = 2 * math.log(1e-4 * float(root) / len(eigenvalues))
    high = math.log(float(eigenvalues[-1])) + math.log(1e3)
    steps = max(2, math.ceil((high - low) / _STEP))
    identity = torch.eye(len(rows), dtype=torch.float64, device=rows.device)
    nodes = torch.exp(low + _STEP * torch.arange(steps, dtype=torch.float64))
    logs = []
    for t in nodes.tolist():
        scaled = rows * (eigenvalues + t).rsqrt()
        factor, failed = torch.linalg.cholesky_ex((1 + 1e-12) * identity - scaled @ scaled.T)
        log = torch.full_like(root, torch.nan) if failed else 2 * factor.diagonal().log().sum()
        logs.append(log)
    heights = torch.stack(logs).cpu()
    total = (heights * nodes.sqrt()).sum()
    # Below the first node, the logarithm continues as a line.
    slope, ratio = heights[1] - heights[0], math.exp(-_STEP / 2)
    below = heights[0] * ratio / (1 - ratio) - slope * ratio / (1 - ratio) ** 2
    total += nodes[0].sqrt() * below
    # Above the last node, two terms of the series in 1 / t.
    small, last = rows @ rows.T, float(nodes[-1])
    second = (rows.square() @ eigenvalues).sum() - small.square().sum() / 2
    above = second / last**1.5 * _geometric(1.5)
    total += above - small.trace() / math.sqrt(last) * _geometric(0.5)
    total *= _STEP
    return (root + total.to(root.device) / (2 * math.pi)) / math.sqrt(count - 1 - group.size)


def to_second_order(eigenvalues: Tensor, group: Group, count: int) -> Tensor:
    """The same to second order in the change of the covariance.

    For groups that are small compared with N, and N well above D.

    tr (C + H)^(1/2) = sum r_i + 1/2 sum H_ii / r_i - 1/4 sum H_ij^2 / (r_i r_j (r_i + r_j)) + ...,
    where r are the roots of C's eigenvalues and H is in their basis (the divided differences of the
    root's derivative). The products are float32, which is precise enough for the change.
    """
    left = count - group.size
    scale = eigenvalues[-1].sqrt()  # float32 has no squares below 1e-38 or above 1e38
    removed = _with_mean(group, count) / scale
    removed = removed.float() if single_is_exact() else removed
    change = -(removed.T @ removed).double() * (scale**2 / (left - 1))
    variances = eigenvalues / (count - 1)
    change.diagonal().add_(variances * ((count - 1) / (left - 1) - 1))
    roots = variances.sqrt()
    linear = (change.diagonal() / roots).sum() / 2
    curved = (change.square_().div_(roots[:, None] + roots).div_(roots)).sum(dim=1) / roots
    return roots.sum() + linear - curved.sum() / 4


def interaction(eigenvalues: Tensor, parts: Iterable[Group], count: int, exact: bool) -> Tensor:
    """What two groups change of tr S'^(1/2) beyond the sum of both changes, float64 [G, G].

    eigenvalues [R]; parts: the groups, of R columns; N = count. A few percent of it are
    missing, so that an interval is rather too wide than too narrow.

    In the integral of `exactly`, ln det of both groups is that of each and ln det(I - M M^T), where
    M = A^-1 U (S + t)^-1 V^T B^-T, with the rows U and V of the groups and the Cholesky factors A
    and B of I - U (S + t)^-1 U^T for each. Its first term -|M|^2 is taken. A column of N^(-1/2)
    beside the rows stands for the mean of the rows that are left, and changes the number of rows:
    -|M|^2 without rows is taken off. Where this is not `exact`, the factors are those of a multiple
    of I, and one pass over the groups serves all t.
    """
    scale = eigenvalues[-1].sqrt()
    values = eigenvalues / scale**2
    parts = (Group(one.rows / scale, one.total / scale, one.size) for one in parts)
    low = 2 * math.log(1e-2 * float(values.sqrt().mean()))
    nodes = torch.exp(torch.arange(low, math.log(10) + _WIDE_STEP, _WIDE_STEP, dtype=torch.float64))
    weights = nodes.sqrt() * (_WIDE_STEP / (2 * math.pi))
    if exact:
        total = _of_products(values, [one.rows for one in parts], count, nodes, weights)
    else:
        total = _of_squares(values, parts, count, nodes, weights)
    return -scale * total


def _of_products(
    values: Tensor, parts: list[Tensor], count: int, nodes: Tensor, weights: Tensor
) -> Tensor:
    """The integral of |M|^2 over t for each two groups, float64 [G, G]."""
    sizes = torch.tensor([len(rows) for rows in parts])
    member = torch.nn.functional.one_hot(torch.arange(len(parts)).repeat_interleave(sizes)).double()
    share = sizes / (count - sizes)
    total = -weights.sum() * torch.outer(share, share).double()
    # With at most as many images as dimensions, M is a small difference of large numbers.
    single = single_is_exact() and count > len(values) + 1
    for t, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
        solved = []
        for rows in parts:
            column = torch.full((len(rows), 1), count**-0.5, dtype=torch.float64)
            scaled = torch.cat([rows * (values + t).rsqrt(), column], dim=1)
            identity = (1 + 1e-12) * torch.eye(len(rows), dtype=torch.float64)
            factor, _ = torch.linalg.cholesky_ex(identity - scaled @ scaled.T)
            solved.append(torch.linalg.solve_triangular(factor, scaled, upper=False))
        every = torch.cat(solved).float() if single else torch.cat(solved)
        for group, (block, start) in enumerate(zip(solved, sizes.cumsum(0), strict=True)):
            squares = (block.to(every.dtype) @ every[start:].T).square().sum(dim=0).double()
            total[group] += weight * (squares @ member[start:])
    return total.triu(1) + total.triu(1).T


def _of_squares(
    values: Tensor, parts: Iterable[Group], count: int, nodes: Tensor, weights: Tensor
) -> Tensor:
    """The same with factors of the mean 1 - tr S (S + t)^-1 / N, float64 [G, G]."""
    inverse = 1 / (values[:, None] + nodes)
    left = 1 - (values[:, None] * inverse).sum(dim=0) / count
    root = ((inverse * (weights / left**2)) @ inverse.T).sqrt_()
    sums, squares, sizes = [], [], []
    for one in parts:
        sums.append(one.total)
        sizes.append(one.size)
        rows = one.rows.float() if single_is_exact() else one.rows
        squares.append((rows.T @ rows).mul_(root).flatten())
    flat, shift, size = torch.stack(squares), torch.stack(sums), torch.tensor(sizes)
    rest = (count - size[:, None] - size) / count  # of the scatter matrix, without two groups
    return (flat @ flat.T).double() / rest**1.5 + shift / values.sqrt() @ shift.T / count


def _geometric(rate: float) -> float:
    """Sum of exp(-rate * step * k) over k = 1, 2, ...: all nodes beyond the last one."""
    return 1 / math.expm1(rate * _STEP)


def _with_mean(group: Group, count: int) -> Tensor:
    return torch.cat([group.rows, group.total[None] / math.sqrt(count - group.size)])
