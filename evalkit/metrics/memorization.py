"""Copies: of reference images (memorization), and of other images of the set (duplicates)."""

from __future__ import annotations

from torch import Tensor

from evalkit.core import Metric
from evalkit.metrics import manifold
from evalkit.metrics.neighbours import nearest
from evalkit.metrics.numeric import MOST_IN_PAIRS, at_least, valid, valid_pair

TOLERANCE = 0.01  # of the length of the features


def memorization(*, fake: Tensor, real: Tensor) -> Tensor:
    """Memorization per image, float64 [N]: 1 - authenticity.

    1 if the image is at most as far from its nearest reference image as that image's own nearest
    neighbour in the reference, else 0 (Alaa et al. 2022, https://arxiv.org/abs/2102.08921, section
    4.2; 1 - AuthPct / 100 of dgm-eval on the same features).

    The expected value for new images of the same distribution is not 0: it is the probability that
    a point is among the nearest neighbours of its own nearest neighbour, 0.62 for points in a plane
    and about 1/2 or less in many dimensions. Copies have the value 1. Compare with held-out real
    images. The stored reference is a sample: copies of training images outside of it are not
    detected.

    fake float [N, D], real float [M, D], M >= 2.
    """
    fake, real = valid_pair(fake, real)
    at_least(len(real), 2, "reference")
    found = nearest(fake, real)
    return (found.squared[:, 0] <= manifold.radii(real, 1)[found.index[:, 0]]).double()


def duplicates(*, fake: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Duplicates per image, float64 [N]: 1 if the set has a near-identical image, else 0.

    Near-identical: the features differ by at most 1% of their own length. The rule does not use the
    typical distance in the set, which is itself small if all images are alike. fake float [N, D],
    N >= 2.
    """
    fake = valid(fake, "generated")
    at_least(len(fake), 2, "generated")
    return (nearest(fake).squared[:, 0] <= _reach(fake, tolerance)).double()


def describe_memorization(*, fake: int, real: int) -> str:
    """The note of a row."""
    return (
        f"{fake} images against a sample of {real} reference images;"
        " held-out real images have values up to about 0.6, not 0"
    )


def describe_duplicates(*, fake: int, real: int = 0) -> str:
    """The note of a row."""
    return (
        f"near-identical: features of {fake} images that differ by at most"
        f" {TOLERANCE:.0%} of their length"
    )


def _reach(fake: Tensor, tolerance: float) -> Tensor:
    """The squared distance up to which another image is near-identical, float64 [N]."""
    return tolerance**2 * fake.double().square().sum(dim=1)


MEMORIZATION = Metric(
    "memorization", memorization, "pool", "inception", "lower", "https://arxiv.org/abs/2102.08921",
    question="How many images may be copies of real ones?",
    meaning="Share of images that are no further from a reference image than its nearest neighbour"
    " is; held-out real images have values above 0, too.",
    range=(0.0, 1.0),
    describe=describe_memorization,
    most=MOST_IN_PAIRS,
    aspect="copies",
)  # fmt: skip
DUPLICATES = Metric(
    "duplicates", duplicates, "pool", "inception", "lower",
    question="How many images repeat another image of the set?",
    meaning="Share of images with a near-identical image in the set.",
    range=(0.0, 1.0),
    describe=describe_duplicates,
    most=MOST_IN_PAIRS,
    depends_on_count=True,
    aspect="copies",
)  # fmt: skip
