"""FID extrapolated to infinitely many generated images.

Chong and Forsyth 2020, https://arxiv.org/abs/1911.07023. FID is biased upwards by about a / N,
where a differs between models, so that models can change places with the count. FID at 15 counts,
from random subsets, lies near a line in 1 / N; its value at 1 / N = 0 is FID without that bias. As
in the authors' code the counts are evenly spaced from 5,000 to N; with fewer than 10,000 images
evalkit starts at N / 2, since the bias is not linear further down, and `describe` says so.

The bias that comes from the count of the reference images stays. Where the spectrum of the features
decays slowly and N is only a few times their dimension, the line bends, and the figure lies a
little too low, even below 0.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evalkit.core import Metric, Moments
from evalkit.metrics import frechet
from evalkit.metrics.numeric import at_least, same_dimension, valid
from evalkit.metrics.remembered import remembered

POINTS = 15
LEAST = 5000
SEED = 2020


@remembered
def fid_infinity(
    *,
    fake: Tensor,
    real_moments: Moments,
    points: int = POINTS,
    least: int = LEAST,
    seed: int = SEED,
) -> Tensor:
    """FID-infinity of float [N, D] features against reference moments, float64 []; Chong and
    Forsyth 2020, section 3.

    `least` is the smallest count of the line, N / 2 where that is fewer. Raises EvalkitError below
    2 * points images.
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
    """The counts, int64 [points], and FID of a random subset of each, float64 [points].

    The images are shuffled once; a subset is a run of them, taken from the two ends in turn. So
    each is a random subset, the larger ones grow out of the smaller ones (their moments are merged,
    not computed again), and all images weigh about alike.
    """
    fake = valid(fake, "generated")
    same_dimension(fake.shape[1], len(real_moments.mean))
    counts = counts_for(len(fake), points, least)
    order = torch.from_numpy(np.random.RandomState(seed).permutation(len(fake)))
    ends, values = (_End(fake, order), _End(fake, order.flip(0))), []
    for place, count in enumerate(counts.tolist()):
        values.append(ends[place % 2].fid(count, real_moments))
    return counts, torch.stack(values)


def counts_for(images: int, points: int = POINTS, least: int = LEAST) -> Tensor:
    """The counts at which FID is taken: evenly spaced from `least` (or half of the images) to all
    of them, int64 [points].
    """
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
    """Values whose spread is that of FID-infinity without each group of images, float64 [G]; groups
    int [N], 0 .. G - 1.

    FID-infinity moves with the same influences of single images as FID does, but not with the same
    weight for each image: the weights follow from the line. So the deviations of FID without each
    group are scaled by the root of N times the sum of squared weights, which is about 1.1. Fitting
    a line 20 times would cost 20 times as much and say the same.
    """
    estimate = fid_infinity(
        fake=fake, real_moments=real_moments, points=points, least=least, seed=seed
    )
    plain = frechet.fid_without(fake=fake, real_moments=real_moments, groups=groups)
    counts, images = (
        counts_for(len(fake), points, least),
        torch.zeros(len(fake), dtype=torch.float64),
    )
    for place, (count, weight) in enumerate(
        zip(counts.tolist(), _weights(counts).tolist(), strict=True)
    ):
        images[slice(0, count) if place % 2 == 0 else slice(len(fake) - count, None)] += (
            weight / count
        )
    return estimate + (plain - plain.mean()) * (len(fake) * images.square().sum()).sqrt()


def describe(*, fake: int, real: int = 0) -> str:
    """What was done with so many images, for the note of a row."""
    if fake < 2 * POINTS:
        return ""
    first = min(LEAST, fake // 2)
    usual = "" if first == LEAST else f"; the usual line from {LEAST} needs {2 * LEAST} images"
    return f"line in 1/N through FID at {POINTS} counts from {first} to {fake}, seed {SEED}{usual}"


def _weights(counts: Tensor) -> Tensor:
    """The weights with which values at these counts make the intercept of the least squares line in
    1 / N, float64 [points].
    """
    x = 1 / counts.double()
    centred = x - x.mean()
    return 1 / len(x) - x.mean() * centred / centred.square().sum()


class _End:
    """Growing runs of rows of float [N, D] in one order: the moments of the last run are kept and
    merged with what comes next.
    """

    def __init__(self, fake: Tensor, order: Tensor) -> None:
        self.fake, self.order, self.merged, self.taken = fake, order, None, 0

    def fid(self, count: int, real_moments: Moments) -> Tensor:
        if count <= self.fake.shape[1]:
            return frechet.fid(fake=self.fake[self.order[:count]], real_moments=real_moments)
        fresh = frechet.moments(self.fake[self.order[self.taken : count]])
        self.merged = fresh if self.merged is None else frechet.merge_moments(self.merged, fresh)
        self.taken = count
        return frechet.frechet_distance(fake_moments=self.merged, real_moments=real_moments)


FID_INFINITY = Metric(
    "fid_infinity",
    fid_infinity,
    "pool",
    "inception",
    "lower",
    "https://arxiv.org/abs/1911.07023",
    title="FID∞",
    meaning="FID extrapolated to infinite sample size, without most of the small-sample bias.",
    leave_out=fid_infinity_without,
    describe=describe,
)
