"""What critics and generator of a GAN minimise: functions of the critics' scores, which are large
for real pictures of the text.

Of each there are two kinds. hinge: scores beyond a margin of 1 teach the critics nothing more.
non-saturating: scores are the logits of "real", as in the first GAN.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from evalkit.core import EvalkitError

Kind = Literal["hinge", "non-saturating"]


def kind_of(name: str) -> Kind:
    """Raises EvalkitError for a name that is no kind of loss."""
    for kind in get_args(Kind):
        if name == kind:
            return kind
    raise EvalkitError(
        f"gan.loss is {name!r}, expected {' or '.join(get_args(Kind))}.",
        "Change it with --set gan.loss=hinge.",
    )


def _accept(scores: Tensor, kind: Kind, target: float) -> Tensor:
    """target: the margin, or the label's probability of "real"."""
    if kind_of(kind) == "hinge":
        return F.relu(target - scores).mean()
    return (
        target * F.softplus(-scores) + (1 - target) * F.softplus(scores)
    ).mean()  # cross-entropy; softplus(-x) = -log sigmoid(x)


def _refuse(scores: Tensor, kind: Kind) -> Tensor:
    return F.relu(1 + scores).mean() if kind_of(kind) == "hinge" else F.softplus(scores).mean()


def critic_loss(
    real: Tensor, fake: Tensor, mismatched: Tensor | None, *, kind: Kind, smoothing: float
) -> Tensor:
    """The hinge of Lim and Ye (2017) and Miyato et al. (2018), or the logistic loss of Goodfellow
    et al. (2014).

    Args:
        real: scores of real pictures with their own texts: float32 [..., N].
        fake: scores of drawn pictures with the texts that they were drawn for: float32 [..., N].
        mismatched: scores of real pictures with texts of others, which weigh half of what is to be
            refused, so that critics listen to the text (Reed et al. 2016): float32 [..., N]; None
            leaves them out.
        smoothing: how much less than 1 is asked of real pictures, as label or as margin (one-sided;
            Salimans et al. 2016). Drawn ones keep their label, for smoothing theirs too would
            reward the generator for what it draws already.
    """
    accepted = _accept(real, kind, 1 - smoothing)
    if mismatched is None:
        return accepted + _refuse(fake, kind)
    return accepted + 0.5 * _refuse(fake, kind) + 0.5 * _refuse(mismatched, kind)


def generator_loss(fake: Tensor, *, kind: Kind) -> Tensor:
    """The critics' score itself (Lim and Ye 2017), or the loss of Goodfellow et al. (2014, section
    3) that does not saturate: -log D instead of log(1 - D), whose gradient vanishes just where the
    critics are sure. fake: float32 [..., N].
    """
    return -fake.mean() if kind_of(kind) == "hinge" else F.softplus(-fake).mean()


def gradient_penalty(scores: Tensor, pictures: Tensor) -> Tensor:
    """R1 of Mescheder et al. (2018): the mean over real pictures of the squared norm of their
    score's gradient. Its weight is the caller's, with the half that belongs to it.

    Args:
        scores: float32 [N], computed from the pictures in full precision: half floats lose small
            gradients.
        pictures: float32 [N, ...] with requires_grad.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), pictures, create_graph=True)
    return gradient.float().square().flatten(1).sum(1).mean()
