"""Knowledge distillation: a student learns from all that a teacher thinks possible, not only from
what happened.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def distillation_loss(
    student: Tensor, teacher: Tensor, goal: Tensor, *, temperature: float, share: float
) -> Tensor:
    """Cross-entropy with the truth, and with the teacher's softened chances (Hinton et al. 2015,
    equation 1 and section 2).

    Args:
        student, teacher: logits [..., codes].
        goal: int64 [...], the tokens of the picture.
        temperature: both are divided by it before the softmax. The gradient of the soft part is
            multiplied by its square, so that the two parts keep their proportion whatever it is.
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
