"""Knowledge distillation: a student learns the distribution of a teacher, not only the truth."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def distillation_loss(
    student: Tensor, teacher: Tensor, goal: Tensor, *, temperature: float, share: float
) -> Tensor:
    """Cross-entropy with the truth, and with the teacher's softened distribution.

    Hinton et al. (2015), equation 1 and section 2.

    Args:
        student, teacher: logits [..., codes].
        goal: int64 [...], the tokens of the image.
        temperature: divides both logits before the softmax. The soft part is multiplied by its
            square, so that the proportion of the gradients does not depend on it.
        share: of the soft part in the whole, in 0..1.
    """
    truth = F.cross_entropy(student.flatten(0, -2).float(), goal.flatten())
    soft = F.kl_div(
        (student.float() / temperature).flatten(0, -2).log_softmax(-1),
        (teacher.float() / temperature).flatten(0, -2).log_softmax(-1),
        log_target=True,
        reduction="batchmean",
    )
    return (1 - share) * truth + share * temperature**2 * soft
