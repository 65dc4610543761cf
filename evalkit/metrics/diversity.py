"""Diversity: among all images (Vendi score), and among the images of one prompt (LPIPS).

Vendi score: Friedman and Dieng 2022, https://arxiv.org/abs/2210.02410, order 1: the exponential of
the entropy of the eigenvalues of K / N, an effective number of different images. evalkit uses the
cosine of features as the kernel K.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evalkit.core import EvalkitError, Metric
from evalkit.metrics.direction import lengths
from evalkit.metrics.numeric import at_least, checked, rows_per_block


def vendi(*, fake: Tensor) -> Tensor:
    """Vendi score of float [N, D] features, float64 [], 1 (all equal) to min(N, D).

    Friedman and Dieng 2022, eq. 1. With N > D it is computed from the D x D matrix, which has the
    same nonzero eigenvalues. It increases with N: compare at equal counts only.
    """
    length = lengths(fake, "generated")
    if len(fake) > fake.shape[1]:
        return _effective_number(_gram(fake, length) / len(fake))
    unit = fake.double() / length
    return _effective_number(unit @ unit.T / len(unit))


def vendi_without(*, fake: Tensor, groups: Tensor) -> Tensor:
    """Vendi score without each group of images, float64 [G]; groups int [N], 0 .. G - 1."""
    length, count = lengths(fake, "generated"), int(groups.max()) + 1
    at_least(len(fake) - int(torch.bincount(groups).max()), 1, "generated (without one group)")
    # Generators below: one matrix at a time is in memory.
    masks = [groups == group for group in range(count)]
    if len(fake) <= fake.shape[1]:
        unit = fake.double() / length
        gram = unit @ unit.T
        parts = (gram[~mask][:, ~mask] for mask in masks)
    else:
        gram = _gram(fake, length)
        parts = (gram - _gram(fake[mask], length[mask]) for mask in masks)
    sizes = [int((~mask).sum()) for mask in masks]
    return torch.stack(
        [_effective_number(part / size) for part, size in zip(parts, sizes, strict=True)]
    )


def describe_vendi(*, fake: int, real: int = 0) -> str:
    """The note of a row."""
    return (
        f"effective number of different images among {fake};"
        " it increases with the number of images, so compare at equal counts only"
    )


def lpips_diversity(*, fake: Tensor) -> Tensor:
    """LPIPS diversity per image, float64 [N], >= 0.

    The mean LPIPS distance to the other images of the same prompt. fake: the encoder's "diversity"
    features, float [N, 1], NaN for the only image of a prompt. Zhang et al. 2018,
    https://arxiv.org/abs/1801.03924 (the distance); Zhu et al. 2017,
    https://arxiv.org/abs/1711.11586 (as a measure of diversity). Raises EvalkitError if a prompt
    has one image only: the mean would be that of the other prompts.
    """
    single = int(torch.isnan(fake).any(dim=-1).sum())
    if single and single == len(fake):
        raise EvalkitError(
            "no prompt has two images", "Generate more: `--per-prompt 2`.", code="metrics-3"
        )
    if single:
        raise EvalkitError(
            f"{single} of {len(fake)} images {'is' if single == 1 else 'are each'} the only one of"
            " its prompt",
            "Generate at least two images of each prompt.",
            code="metrics-4",
        )
    fake = checked(fake, "generated")
    if fake.shape[1] != 1:
        raise EvalkitError(
            f"The diversity features have shape {tuple(fake.shape)}; expected one number per"
            " image.",
            code="metrics-5",
        )
    return fake[:, 0]


def _gram(features: Tensor, lengths: Tensor) -> Tensor:
    """X^T X of the rows scaled to length 1, float64 [D, D], in blocks of bounded memory."""
    total = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
    step = rows_per_block(features.shape[1])
    for block, length in zip(features.split(step), lengths.split(step), strict=True):
        unit = block.double() / length
        total.addmm_(unit.T, unit)
    return total


def _effective_number(normalised: Tensor) -> Tensor:
    """exp of the entropy of the eigenvalues of a symmetric matrix of trace 1."""
    eigenvalues = torch.linalg.eigvalsh((normalised + normalised.T) / 2).clamp_min(0)
    return (-torch.special.xlogy(eigenvalues, eigenvalues).sum()).exp()


VENDI = Metric(
    "vendi", vendi, "pool", "inception", "higher", "https://arxiv.org/abs/2210.02410",
    title="Vendi score",
    question="How many different images does the set have, in effect?",
    meaning="Effective number of different images in the set; it grows with the count.",
    range=(1.0, math.inf),
    leave_out=vendi_without,
    describe=describe_vendi,
    depends_on_count=True,
)  # fmt: skip
LPIPS_DIVERSITY = Metric(
    "lpips_diversity", lpips_diversity, "diversity", "lpips", "higher",
    "https://arxiv.org/abs/1801.03924",
    title="LPIPS diversity",
    question="How different are the images of one prompt?",
    meaning="How much the images of one prompt differ from each other.",
    range=(0.0, math.inf),
)  # fmt: skip
