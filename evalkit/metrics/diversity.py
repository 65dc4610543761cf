"""How varied the pictures are: among all of them (Vendi score), and among those of one prompt
(LPIPS).

Vendi score: Friedman and Dieng 2022, https://arxiv.org/abs/2210.02410, order 1: the exponential of
the entropy of the eigenvalues of K / N, an effective number of different pictures. evalkit takes
the cosine of features as the kernel K.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evalkit.core import EvalkitError, Metric
from evalkit.metrics.direction import unit_length
from evalkit.metrics.numeric import at_least, checked


def vendi(*, fake: Tensor) -> Tensor:
    """Vendi score of float [N, D] features, float64 [], from 1 (all alike) to min(N, D); Friedman
    and Dieng 2022, eq. 1.

    With N > D from the D x D matrix that has the same eigenvalues. It grows with N: compare at
    equal counts only.
    """
    unit = unit_length(fake, "generated")
    return _effective_number(
        (unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit) / len(unit)
    )


def vendi_of_kernel(kernel: Tensor) -> Tensor:
    """Vendi score of a symmetric positive semidefinite kernel matrix float [N, N] with ones on its
    diagonal, float64 [].
    """
    if (
        kernel.ndim != 2
        or kernel.shape[0] != kernel.shape[1]
        or not bool(torch.allclose(kernel.diagonal(), torch.ones(()).to(kernel)))
    ):
        raise EvalkitError(
            f"The kernel has shape {tuple(kernel.shape)}; expected a square matrix with ones on its diagonal."
        )
    return _effective_number(kernel.double() / len(kernel))


def vendi_without(*, fake: Tensor, groups: Tensor) -> Tensor:
    """Vendi score with each group of images left out in turn, float64 [G]; groups int [N], 0 .. G -
    1.
    """
    unit, count = unit_length(fake, "generated"), int(groups.max()) + 1
    at_least(len(unit) - int(torch.bincount(groups).max()), 1, "generated (without one group)")
    kept = [torch.nonzero(groups != group).flatten() for group in range(count)]
    if len(unit) <= unit.shape[1]:
        kernel = unit @ unit.T
        return torch.stack([_effective_number(kernel[keep][:, keep] / len(keep)) for keep in kept])
    whole = unit.T @ unit
    parts = (unit[groups == group] for group in range(count))
    return torch.stack(
        [
            _effective_number((whole - part.T @ part) / len(keep))
            for part, keep in zip(parts, kept, strict=True)
        ]
    )


def describe_vendi(*, fake: int, real: int = 0) -> str:
    """What must be known to read the figure, for the note of a row."""
    return f"effective number of different images among {fake}; it grows with the count, compare at equal counts only"


def lpips_diversity(*, fake: Tensor) -> Tensor:
    """LPIPS diversity per image, float64 [N], >= 0: the mean LPIPS distance to the other images of
    the same prompt.

    fake is the encoder's "diversity", float [N, 1], NaN for an image without a sibling. Zhang et
    al. 2018, https://arxiv.org/abs/1801.03924 (the distance); Zhu et al. 2017,
    https://arxiv.org/abs/1711.11586 (as a measure of diversity). Raises EvalkitError where an image
    has no sibling: the mean of the others would be that of some prompts only.
    """
    alone = int(torch.isnan(fake).any(dim=-1).sum())
    if alone and alone == len(fake):
        raise EvalkitError("no prompt has two images", "Make more: `--per-prompt 2`.")
    if alone:
        raise EvalkitError(
            f"{alone} of {len(fake)} images are the only one of their prompt",
            "Make two of each at least.",
        )
    fake = checked(fake, "generated")
    if fake.shape[1] != 1:
        raise EvalkitError(
            f"The diversity features have shape {tuple(fake.shape)}; expected one number per image."
        )
    return fake[:, 0]


def _effective_number(normalised: Tensor) -> Tensor:
    """exp of the entropy of the eigenvalues of a symmetric matrix of trace 1."""
    eigenvalues = torch.linalg.eigvalsh((normalised + normalised.T) / 2).clamp_min(0)
    return (-torch.special.xlogy(eigenvalues, eigenvalues).sum()).exp()


VENDI = Metric(
    "vendi",
    vendi,
    "pool",
    "inception",
    "higher",
    "https://arxiv.org/abs/2210.02410",
    title="Vendi score",
    meaning="Effective number of different images in the set; it grows with the count.",
    range=(1.0, math.inf),
    leave_out=vendi_without,
    describe=describe_vendi,
    depends_on_count=True,
)
LPIPS_DIVERSITY = Metric(
    "lpips_diversity",
    lpips_diversity,
    "diversity",
    "lpips",
    "higher",
    "https://arxiv.org/abs/1801.03924",
    title="LPIPS diversity",
    meaning="How much the images of one prompt differ from each other.",
    range=(0.0, math.inf),
)
