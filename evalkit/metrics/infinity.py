"""FID extrapolated to infinite sample size.

Chong and Forsyth 2020, https://arxiv.org/abs/1911.07023. The bias of FID is about a / N, where a
differs between models, so the ranking of models can change with N. FID at 15 sample sizes, from
random subsets, lies near a line in 1 / N; its value at 1 / N = 0 is FID without this bias. As in
the authors' code, the sample sizes are evenly spaced from 5,000 to N. With fewer than 10,000 images
evalkit starts at N / 2, since the bias is not linear below, and `describe` states it.

The bias from the number of reference images remains. If the spectrum of the features decays slowly
and N is only a few times D, the line bends and the value is slightly too low, even below 0.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evalkit.core import Metric, Moments
from evalkit.metrics import frechet
from evalkit.metrics.memoized import memoized
from evalkit.metrics.numeric import at_least, same_dimension, valid

POINTS = 15
LINEAR = 3  # times the dimensions: from so many images on the bias is close to a line in 1 / N
LEAST = 5000
SEED = 2020


@memoized
def fid_infinity(
    *,
    fake: Tensor,
    real_moments: Moments,
    points: int = POINTS,
    least: int = LEAST,
    seed: int = SEED,
) -> Tensor:
    """FID-infinity of float [N, D] features against reference moments, float64 []; section 3.

    `least` is the smallest sample size of the line, or N / 2 if that is smaller. Raises
    EvalkitError below 2 * points images.
    """
    counts, values = fid_at_counts(
        fake=fake, real_moments=real_moments, points=points, least=least, seed=seed
    )
    return (_weights(counts) * values).sum()


def fid_at_counts(
    *,
    fake: Tensor,
    real_moments: Moments,
    points: int = POINTS,
    least: int = LEAST,
    seed: int = SEED,
) -> tuple[Tensor, Tensor]:
    """The sample sizes, int64 [points], and FID of a random subset of each, float64 [points].

    The images are shuffled once, and subsets are taken from the two ends in turn. Each is a random
    subset, a larger one contains the smaller ones of its end (moments are merged, not computed
    again), and all images have about the same weight.
    """
    fake = valid(fake, "generated")
    same_dimension(fake.shape[1], len(real_moments.mean))
    counts = counts_for(len(fake), points, least)
    order = torch.from_numpy(np.random.RandomState(seed).permutation(len(fake)))
    subsets = _GrowingSubset(fake, order), _GrowingSubset(fake, order.flip(0))
    values = [
        subsets[place % 2].fid(count, real_moments) for place, count in enumerate(counts.tolist())
    ]
    return counts, torch.stack(values)


def counts_for(images: int, points: int = POINTS, least: int = LEAST) -> Tensor:
    """The sample sizes, int64 [points], evenly spaced from `least` (or half) to all images."""
    at_least(images, 2 * points, "generated")
    return torch.from_numpy(np.linspace(min(least, images // 2), images, points).astype(np.int64))


def fid_infinity_without(
    *,
    fake: Tensor,
    real_moments: Moments,
    groups: Tensor,
    points: int = POINTS,
    least: int = LEAST,
    seed: int = SEED,
) -> Tensor:
    """Values with the spread of FID-infinity without each group of images, float64 [G].

    Single images influence FID-infinity as they influence FID, but with unequal weights that follow
    from the line. The deviations of FID without each group are therefore multiplied by the root of
    N times the sum of squared weights, about 1.1. Fitting a line for each group would take 20 times
    as long for the same result. groups int [N], 0 .. G - 1.
    """
    estimate = fid_infinity(
        fake=fake, real_moments=real_moments, points=points, least=least, seed=seed
    )
    plain = frechet.fid_without(fake=fake, real_moments=real_moments, groups=groups)
    counts = counts_for(len(fake), points, least)
    images = torch.zeros(len(fake), dtype=torch.float64)  # the weight of each image
    shares = (_weights(counts) / counts).tolist()
    for place, (count, share) in enumerate(zip(counts.tolist(), shares, strict=True)):
        subset = images[:count] if place % 2 == 0 else images[len(fake) - count :]
        subset += share
    return estimate + (plain - plain.mean()) * (len(fake) * images.square().sum()).sqrt()


def describe(*, fake: int, real: int = 0) -> str:
    """The note of a row."""
    if fake < 2 * POINTS:
        return ""
    first = min(LEAST, fake // 2)
    usual = "" if first == LEAST else f"; the usual line from {LEAST} needs {2 * LEAST} images"
    return f"line in 1/N through FID at {POINTS} counts from {first} to {fake}, seed {SEED}{usual}"


def caution(*, fake: int, dimension: int) -> str:
    """Why a value of so few images may mislead; "" from `LINEAR` images per dimension on.

    In simulations (white and steep spectra, models as good as the reference and worse) the line
    removes a third to two thirds of the bias at N below D, 1.2 times the bias from D to 2 D, and
    0.9 to 1.1 times from 3 D on.
    """
    enough = LINEAR * dimension
    if fake >= enough:
        return ""
    side = "far too high" if fake < dimension else "too low"
    return (
        f"of {fake:,} images with {dimension:,} dimensions the value may be {side}, whatever"
        f" its interval says: at least {enough:,} images are needed"
    )


def _weights(counts: Tensor) -> Tensor:
    """The weights of the values in the intercept of the least squares line in 1 / N.

    float64 [points].
    """
    x = 1 / counts.double()
    centred = x - x.mean()
    return 1 / len(x) - x.mean() * centred / centred.square().sum()


class _GrowingSubset:
    """FID of the first rows of float [N, D] in one order, for increasing counts.

    The moments of the previous count are kept and merged with those of the new rows.
    """

    def __init__(self, fake: Tensor, order: Tensor) -> None:
        self.fake, self.order, self.merged, self.taken = fake, order, None, 0

    def fid(self, count: int, real_moments: Moments) -> Tensor:
        if count <= self.fake.shape[1]:
            return frechet.fid(fake=self.fake[self.order[:count]], real_moments=real_moments)
        new = frechet.moments(self.fake[self.order[self.taken : count]])
        self.merged = new if self.merged is None else frechet.merge_moments(self.merged, new)
        self.taken = count
        return frechet.frechet_distance(fake_moments=self.merged, real_moments=real_moments)


FID_INFINITY = Metric(
    "fid_infinity", fid_infinity, "pool", "inception", "lower",
    "https://arxiv.org/abs/1911.07023",
    title="FID∞",
    question="How close are the images, as a set, to real ones, whatever their number?",
    meaning="FID extrapolated to infinite sample size, without most of the small-sample bias.",
    leave_out=fid_infinity_without,
    describe=describe,
    caution=caution,
)  # fmt: skip
