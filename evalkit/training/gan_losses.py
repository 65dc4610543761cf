"""The losses of a GAN: functions of the discriminators' scores, which are large for real images.

There are two kinds of each. hinge: scores beyond a margin of 1 have no gradient. non-saturating:
scores are the logits of "real", as in the first GAN.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from evalkit.core import EvalkitError

Loss = Literal["hinge", "non-saturating"]


def loss_of(name: str) -> Loss:
    """Raises EvalkitError for an unknown loss."""
    for kind in get_args(Loss):
        if name == kind:
            return kind
    raise EvalkitError(
        f"gan.loss is {name!r}, expected {' or '.join(get_args(Loss))}.",
        "Set gan.loss to hinge.",
        code="training-28",
    )


def _of_real(scores: Tensor, kind: Loss, target: float) -> Tensor:
    """target: the margin, or the label's probability of "real"."""
    if loss_of(kind) == "hinge":
        return F.relu(target - scores).mean()
    # Cross-entropy, since softplus(-x) = -log sigmoid(x).
    return (target * F.softplus(-scores) + (1 - target) * F.softplus(scores)).mean()


def _of_fake(scores: Tensor, kind: Loss) -> Tensor:
    return F.relu(1 + scores).mean() if loss_of(kind) == "hinge" else F.softplus(scores).mean()


def discriminator_loss(
    real: Tensor, fake: Tensor, mismatched: Tensor | None, *, kind: Loss, smoothing: float
) -> Tensor:
    """The hinge of Lim and Ye (2017) and Miyato et al. (2018), or the logistic loss.

    The logistic loss is that of Goodfellow et al. (2014).

    Args:
        real: scores of real images with their own captions: float32 [..., N].
        fake: scores of generated images with their captions: float32 [..., N].
        mismatched: scores of real images with captions of others: float32 [..., N]. They are half
            of the fakes, so that the text matters (Reed et al. 2016). None leaves them out.
        smoothing: subtracted from the target 1 of real images, a label or a margin (one-sided;
            Salimans et al. 2016). Smoothing the label of fakes, too, would reward the generator for
            what it draws already.
    """
    loss = _of_real(real, kind, 1 - smoothing)
    if mismatched is None:
        return loss + _of_fake(fake, kind)
    return loss + 0.5 * _of_fake(fake, kind) + 0.5 * _of_fake(mismatched, kind)


def generator_loss(fake: Tensor, *, kind: Loss) -> Tensor:
    """The negative score (Lim and Ye 2017), or the non-saturating loss, -log D.

    -log D (Goodfellow et al. 2014, section 3) replaces log(1 - D), whose gradient vanishes where
    the discriminators are certain. fake: float32 [..., N].
    """
    return -fake.mean() if loss_of(kind) == "hinge" else F.softplus(-fake).mean()


def gradient_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """R1 of Mescheder et al. (2018): the mean squared gradient norm of the scores of real images.

    The caller applies the weight, with its factor of one half.

    Args:
        scores: float32 [N], computed from the images in full precision, because half precision
            loses small gradients.
        images: float32 [N, ...] with requires_grad.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.float().square().flatten(1).sum(1).mean()
