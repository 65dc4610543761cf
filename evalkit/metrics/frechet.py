"""Fréchet distance of two Gaussians, and their moments. All statistics are float64.

FID (Heusel et al. 2017, https://arxiv.org/abs/1706.08500, eq. 6):
|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). The trace of the root needs no matrix root: it is the
sum of the square roots of the eigenvalues of C1 C2, which are those of the symmetric L^T C2 L for
any factor C1 = L L^T. With fewer images than dimensions, the factor is the centred feature matrix
itself, and the size of the eigenvalue problem is the number of images.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from evalkit.core import Metric, Moments
from evalkit.metrics import roots
from evalkit.metrics.memoized import memoized
from evalkit.metrics.numeric import at_least, checked_pair, mean_of, same_dimension, valid
from evalkit.metrics.roots import Group

_QUICK = 2**32  # multiplications for each of about ten nodes: a second in all
_BLOCK = 4096  # rows that are converted to float64 and multiplied at once
_MANY = 2  # images of a group per dimension; above, fewer rows stand for them


def moments(features: Tensor) -> Moments:
    """Mean and unbiased covariance (ddof = 1), float64, of float [N, D] features, N >= 2."""
    features = valid(features, "given")
    at_least(len(features), 2, "given")
    mean = mean_of(features)
    _, scatter = _about(mean, features.split(_BLOCK))
    return Moments(mean, scatter / (len(features) - 1), len(features))


def _about(mean: Tensor, blocks: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """The sum of all rows less the mean, float64 [D], and their scatter matrix about it [D, D]."""
    total, scatter = torch.zeros_like(mean), mean.new_zeros(len(mean), len(mean))
    for block in blocks:
        centred = block.double() - mean
        total += centred.sum(dim=0)
        scatter.addmm_(centred.T, centred)
    return total, scatter


_kept_moments = memoized(moments, max_results=2)  # shared by FID and its interval


def merge_moments(first: Moments, second: Moments) -> Moments:
    """Moments of the union of two disjoint sets (Chan et al. 1983), without cancellation."""
    count = first.count + second.count
    step = second.mean - first.mean
    scatter = (first.count - 1) * first.cov + (second.count - 1) * second.cov
    scatter = scatter + torch.outer(step, step) * (first.count * second.count / count)
    return Moments(first.mean + step * (second.count / count), scatter / (count - 1), count)


def remove_moments(total: Moments, part: Moments) -> Moments:
    """Moments of a set without a part of it: the inverse of `merge_moments`."""
    count = total.count - part.count
    mean = total.mean + (total.mean - part.mean) * (part.count / count)
    step = part.mean - mean
    scatter = (total.count - 1) * total.cov - (part.count - 1) * part.cov
    scatter = scatter - torch.outer(step, step) * (count * part.count / total.count)
    return Moments(mean, (scatter + scatter.T) / (2 * (count - 1)), count)


# --- the distance ---
def frechet_distance(*, fake_moments: Moments, real_moments: Moments) -> Tensor:
    """Fréchet distance of two Gaussians given by their moments, float64 []; FID, eq. 6.

    For equal or rank-deficient covariances, rounding may give a tiny negative number; it is
    returned unchanged.
    """
    fake, real = fake_moments, real_moments
    same_dimension(len(fake.mean), len(real.mean))
    root = _sum_of_roots(fake.cov, _factor(real.cov))
    return _distance(fake.mean, real.mean, fake.cov.trace(), real.cov.trace(), root)


def frechet_distance_of_features(*, fake: Tensor, real: Tensor) -> Tensor:
    """Fréchet distance of float [N, D] and [M, D] features, float64 [].

    If N or M < D, tr (C1 C2)^(1/2) is the nuclear norm of Xc Yc^T / sqrt((N - 1)(M - 1)), with Xc
    and Yc centred, and no D x D matrix is computed.
    """
    fake, real = checked_pair(fake, real)
    if min(len(fake), len(real)) >= fake.shape[1]:
        return frechet_distance(fake_moments=moments(fake), real_moments=moments(real))
    at_least(min(len(fake), len(real)), 2, "given")
    x, y = fake - fake.mean(dim=0), real - real.mean(dim=0)
    x, y = x / (len(x) - 1) ** 0.5, y / (len(y) - 1) ** 0.5
    root = torch.linalg.svdvals(x @ y.T).sum()
    return _distance(fake.mean(dim=0), real.mean(dim=0), x.square().sum(), y.square().sum(), root)


@memoized
def fid(*, fake: Tensor, real_moments: Moments) -> Tensor:
    """FID of float [N, D] features against reference moments, float64 [], >= 0; eq. 6.

    With N <= D the eigenvalues come from the N x N matrix Xc C Xc^T / (N - 1), Xc centred, which
    has the nonzero eigenvalues of C1 C.
    """
    fake = valid(fake, "generated")
    same_dimension(fake.shape[1], len(real_moments.mean))
    at_least(len(fake), 2, "generated")
    if len(fake) > fake.shape[1]:
        return frechet_distance(fake_moments=_kept_moments(fake), real_moments=real_moments)
    fake = fake.double()
    return _fid_of_gram(fake, fake @ real_moments.cov @ fake.T, real_moments)


def _fid_of_gram(fake: Tensor, gram: Tensor, real_moments: Moments) -> Tensor:
    """FID from fake float64 [N, D] and gram = fake C fake^T [N, N].

    The Gram matrix is centred here: (H X) C (H X)^T = H gram H with H = I - 1 / N.
    """
    mean, real = fake.mean(dim=0), real_moments
    gram = gram - gram.mean(dim=0, keepdim=True)
    gram = gram - gram.mean(dim=1, keepdim=True)
    eigenvalues = torch.linalg.eigvalsh((gram + gram.T) / (2 * (len(fake) - 1)))
    spread = (fake - mean).square().sum() / (len(fake) - 1)
    return _distance(mean, real.mean, spread, real.cov.trace(), _roots(eigenvalues))


def _distance(mean1: Tensor, mean2: Tensor, trace1: Tensor, trace2: Tensor, root: Tensor) -> Tensor:
    return (mean1 - mean2).square().sum() + trace1 + trace2 - 2 * root


def _factor(cov: Tensor) -> Tensor:
    """L [D, R] with cov = L L^T [D, D] of rank R.

    Cholesky; or eigenvectors, where the rank is below D: a jitter, which Cholesky then needs, would
    add a root for each missing dimension, 1e-7 of the distance in all.
    """
    factor, failed = torch.linalg.cholesky_ex(cov)
    if int(failed) == 0 and factor.diagonal().square().min() > 1e-12 * cov.diagonal().mean():
        return factor
    values, vectors = _eigen(cov)
    return vectors * values.sqrt()


def _sum_of_roots(cov: Tensor, factor: Tensor) -> Tensor:
    """tr (cov L L^T)^(1/2) from the eigenvalues of the symmetric L^T cov L."""
    product = factor.T @ cov @ factor
    return _roots(torch.linalg.eigvalsh((product + product.T) / 2))


def _roots(eigenvalues: Tensor) -> Tensor:
    """The sum of the square roots; rounding errors of 0, whose roots would be large, are none."""
    if not len(eigenvalues):
        return eigenvalues.sum()
    least = len(eigenvalues) * torch.finfo(eigenvalues.dtype).eps * eigenvalues.max()
    return eigenvalues[eigenvalues > least.clamp_min(0)].sqrt().sum()


# --- the interval: the distance without each group of images ---
@memoized
def fid_without(*, fake: Tensor, real_moments: Moments, groups: Tensor) -> Tensor:
    """FID without each group of images, float64 [G]; groups int [N], 0 .. G - 1.

    One eigendecomposition serves all groups, see `roots`: exact up to 3 D images, and to second
    order above, where one twentieth of the images changes the covariance by little.
    """
    fake, real = valid(fake, "generated"), real_moments
    same_dimension(fake.shape[1], len(real.mean))
    count, sizes = len(fake), torch.bincount(groups)
    at_least(count - int(sizes.max()), 2, "generated (without one group)")
    mean, spread, eigenvalues, whitened = _kept_whitened(fake, real.cov)
    exact = count <= roots.EXACT_UP_TO * fake.shape[1]
    root_without = roots.exactly if exact else roots.to_second_order
    values = []
    for number, group in enumerate(_centred_groups(fake, groups, mean)):
        size, rest = group.size, count - group.size
        if not size:
            values.append(fid(fake=fake, real_moments=real))
            continue
        shift = group.total / size  # of the group from the mean of all
        removed = group.rows.square().sum() + shift.square().sum() * (size * size / rest)
        trace = (spread - removed) / (rest - 1)
        root = torch.zeros_like(trace)
        if len(eigenvalues):
            chosen = (groups == number).nonzero().flatten()
            root = root_without(eigenvalues, whitened(chosen, group), count)
        if not bool(torch.isfinite(root)):  # rank lost to rounding
            values.append(fid(fake=fake[groups != number], real_moments=real))
            continue
        mean_left = mean - shift * (size / rest)
        values.append(_distance(mean_left, real.mean, trace, real.cov.trace(), root))
    return torch.stack(values)


@memoized
def fid_without_pairs(*, fake: Tensor, real_moments: Moments, groups: Tensor) -> Tensor:
    """FID without each two groups of images, float64 [G (G - 1) / 2]; see `Metric.leave_out_pairs`.

    The changes of the root by each group follow from `fid_without`, and what two of them change
    beyond their sum from `roots.interaction`, which is approximate.
    """
    without = fid_without(fake=fake, real_moments=real_moments, groups=groups)
    real, count, sizes = real_moments, len(fake), torch.bincount(groups)
    mean, spread, eigenvalues, whitened = _kept_whitened(fake, real.cov)
    members = [(groups == group).nonzero().flatten() for group in range(len(sizes))]
    about = [(one.total, one.rows.square().sum()) for one in _centred_groups(fake, groups, mean)]
    sums, squares = (torch.stack(values) for values in zip(*about, strict=True))

    def known(size: Tensor, shift: Tensor, square: Tensor) -> Tensor:
        """FID, but for the root, without images of this number, sum and sum of squares."""
        rest = count - size
        means = mean - shift / rest[:, None] - real.mean
        traces = (spread - square - shift.square().sum(dim=1) / rest) / (rest - 1)
        return means.square().sum(dim=1) + traces + real.cov.trace()

    root = (known(sizes, sums, squares) - without) / 2 * (count - sizes - 1).sqrt()
    one, other = torch.triu_indices(len(sizes), len(sizes), 1)
    both = root[one] + root[other] - eigenvalues.sqrt().sum()
    if len(eigenvalues):
        exact = count <= roots.EXACT_UP_TO * fake.shape[1] or _is_quick(fake)
        parts = map(whitened, members, _centred_groups(fake, groups, mean))
        both = both + roots.interaction(eigenvalues, parts, count, exact)[one, other]
    size = sizes[one] + sizes[other]
    most = known(size, sums[one] + sums[other], squares[one] + squares[other])
    return most - 2 * both / (count - size - 1).sqrt()


def _is_quick(fake: Tensor) -> bool:
    """Whether what pairs of groups change is computed from all rows, not from their products."""
    return len(fake) ** 2 * fake.shape[1] <= _QUICK


def approximation(*, fake: int, dimension: int) -> str:
    """How `fid_without` approximates its values for this many images; "" where it is exact."""
    exact = fake <= roots.EXACT_UP_TO * dimension
    return "" if exact else f"values to second order, since N > {roots.EXACT_UP_TO} D"


def _whitened(
    fake: Tensor, cov: Tensor
) -> tuple[Tensor, Tensor, Tensor, Callable[[Tensor, Group], Group]]:
    """Mean, sum of squares about it, eigenvalues of the scatter of X L, and groups of rows of X L.

    X is centred, and cov = L L^T. The rows are in the basis of the eigenvectors, given by a
    function of the images' indices and the group of their centred features. With N <= D the matrix
    X cov X^T = U E U^T is decomposed, and the rows are those of U E^(1/2).
    """
    if len(fake) <= fake.shape[1]:
        mean = mean_of(fake)
        centred = fake.double() - mean
        eigenvalues, vectors = _eigen(centred @ cov @ centred.T)
        basis = vectors * eigenvalues.sqrt()
        return mean, centred.square().sum(), eigenvalues, lambda chosen, _: Group.of(basis[chosen])
    total, factor = _kept_moments(fake), _factor(cov)
    eigenvalues, vectors = _eigen(factor.T @ total.cov @ factor * (total.count - 1))
    rotation = factor @ vectors
    spread = total.cov.trace() * (total.count - 1)

    def rotated(_: Tensor, group: Group) -> Group:
        return Group(group.rows @ rotation, group.total @ rotation, group.size)

    return total.mean, spread, eigenvalues, rotated


def _centred_groups(fake: Tensor, groups: Tensor, mean: Tensor) -> Iterable[Group]:
    """The features of each group less the mean of all; of large groups, D rows stand for them."""
    if len(fake) > _MANY * fake.shape[1] * (int(groups.max()) + 1) and not _is_quick(fake):
        return _kept_in_few_rows(fake, groups, mean)
    return (
        Group.of(fake[groups == group].double() - mean) for group in range(int(groups.max()) + 1)
    )


def _in_few_rows(fake: Tensor, groups: Tensor, mean: Tensor) -> list[Group]:
    """D rows for each group, L^T of its scatter matrix L L^T: one pass over the features."""
    found = []
    for group in range(int(groups.max()) + 1):
        chosen = (groups == group).nonzero().flatten()
        total, scatter = _about(mean, (fake[rows] for rows in chosen.split(_BLOCK)))
        found.append(Group(_factor(scatter).T, total, len(chosen)))
    return found


_kept_in_few_rows = memoized(_in_few_rows, max_results=1)
_kept_whitened = memoized(_whitened, max_results=1)  # shared by both forms without groups


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of a positive semidefinite matrix, without rounding errors of 0.

    Eigenvalues up to 1e-13 of the largest one are dropped.
    """
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    kept = values > 1e-13 * values[-1]
    return values[kept], vectors[:, kept]


# --- the finite-sample baseline ---
BASELINE_SEED = 0


@memoized
def fid_baseline(*, real: Tensor, real_moments: Moments, count: int) -> float | None:
    """FID of `count` real images against the other real images: its finite-sample baseline.

    This is the mean of several draws from the stored features float [M, D], each removed from the
    reference moments. If fewer features are stored (or `count` is more than half of all images),
    the baseline of that smaller count is scaled by 1 / count, as the bias of FID falls. None if
    fewer than two images can be drawn.
    """
    features = real.double()
    drawn = min(count, len(features) * 4 // 5, real_moments.count // 2)
    if drawn < 2:
        return None
    random, values = np.random.RandomState(BASELINE_SEED), []
    for _ in range(baseline_draws(features.shape[1])):
        rows = torch.from_numpy(random.permutation(len(features))[:drawn])
        rest = remove_moments(real_moments, moments(features[rows]))
        values.append(float(fid(fake=features[rows], real_moments=rest)))
    return float(np.mean(values)) * drawn / count


def baseline_draws(dimension: int) -> int:
    """Draws behind a baseline: 20, or 5 where a draw takes about a second."""
    return 20 if dimension <= 512 else 5


FID = Metric(
    "fid", fid, "pool", "inception", "lower", "https://arxiv.org/abs/1706.08500",
    title="FID",
    question="How close are the images, as a set, to real ones?",
    meaning="Fréchet distance between the features of generated and reference images.",
    range=(0.0, math.inf),
    leave_out=fid_without,
    leave_out_pairs=fid_without_pairs,
    approximation=approximation,
    baseline=fid_baseline,
    depends_on_count=True,
)  # fmt: skip
SFID = dataclasses.replace(
    FID,
    name="sfid",
    feature="spatial",
    paper="https://arxiv.org/abs/2103.03841",
    title="sFID",
    question="How close are the images to real ones in their spatial layout?",
    meaning="As FID, with features that keep spatial positions.",
    baseline=None,  # no reference stores spatial features
)
FD_DINOV2 = dataclasses.replace(
    FID,
    name="fd_dinov2",
    encoder="dinov2",
    paper="https://arxiv.org/abs/2306.04675",
    title="FD-DINOv2",
    question="How close are the images, as a set, to real ones, in features of DINOv2?",
    meaning="As FID, in the features of DINOv2.",
)
