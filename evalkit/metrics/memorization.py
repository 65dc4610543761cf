"""Pictures that are copies: of reference pictures (memorization), and of each other (duplicates)."""

from __future__ import annotations

from torch import Tensor

from evalkit.core import Metric
from evalkit.metrics import manifold
from evalkit.metrics.balls import pairs_within
from evalkit.metrics.neighbours import nearest
from evalkit.metrics.numeric import at_least, rows_per_block, valid, valid_pair

TOLERANCE = 0.01  # of the length of the features


def memorization(*, fake: Tensor, real: Tensor) -> Tensor:
    """Memorization per image, float64 [N]: 1 where it is no further from its nearest reference
    image than that one's own nearest neighbour in the reference, else 0. The mean is 1 less the
    authenticity of Alaa et al. 2022 (https://arxiv.org/abs/2102.08921, section 4.2), and 1 -
    AuthPct / 100 of dgm-eval on the same features.

    Honest images of the same distribution do not score 0. New ones and reference ones are then
    alike, so the mean is the chance that a point is among the nearest of its own nearest neighbour:
    0.62 for points in a plane, about 1/2 or below in many dimensions. Copies score 1. Compare with
    held-out real images, not with 0. The stored reference is a sample: what was copied from
    training images outside of it is not seen.

    fake float [N, D], real float [M, D], M >= 2.
    """
    fake, real = valid_pair(fake, real)
    at_least(len(real), 2, "reference")
    found = nearest(fake, real)
    return (found.squared[:, 0] <= manifold.radii(real, 1)[found.index[:, 0]]).double()


def duplicates(*, fake: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Duplicates per image, float64 [N]: 1 where another image of the set is near-identical to it,
    else 0.

    Near-identical: the features differ by at most 1% of their own length. The rule looks at one
    pair only: not at the count, and not at the usual distance in the set, which would itself shrink
    where all images are alike. fake float [N, D], N >= 2.
    """
    fake = valid(fake, "generated")
    at_least(len(fake), 2, "generated")
    return (nearest(fake).squared[:, 0] <= _reach(fake, tolerance)).double()


def duplicates_within(*, fake: Tensor, tolerance: float = TOLERANCE) -> int:
    """The number of pairs of near-identical images in the set; see `duplicates`."""
    fake = valid(fake, "generated")
    reach, step, pairs = _reach(fake, tolerance), rows_per_block(len(fake)), 0
    for start in range(0, len(fake), step):
        row, column, _ = pairs_within(fake, fake, reach, start, start + step)
        pairs += int((row < column).sum())
    return pairs


def describe_memorization(*, fake: int, real: int) -> str:
    """What must be known to read the figure, for the note of a row."""
    return f"{fake} images against a sample of {real} reference images; held-out real images score up to about 0.6, not 0"


def describe_duplicates(*, fake: int, real: int = 0) -> str:
    """What was done with so many images, for the note of a row."""
    return f"near-identical: features of {fake} images that differ by at most {TOLERANCE:.0%} of their length"


def _reach(fake: Tensor, tolerance: float) -> Tensor:
    """The squared distance up to which another image is near-identical, float64 [N]."""
    return tolerance**2 * fake.double().square().sum(dim=1)


MEMORIZATION = Metric(
    "memorization",
    memorization,
    "pool",
    "inception",
    "lower",
    "https://arxiv.org/abs/2102.08921",
    meaning="Share of images that are no further from a reference image than its nearest neighbour"
    " is; 0 is not expected of honest images.",
    range=(0.0, 1.0),
    describe=describe_memorization,
)
DUPLICATES = Metric(
    "duplicates",
    duplicates,
    "pool",
    "inception",
    "lower",
    meaning="Share of images with a near-identical image in the set.",
    range=(0.0, 1.0),
    describe=describe_duplicates,
    depends_on_count=True,
)
