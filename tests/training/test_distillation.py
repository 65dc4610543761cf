"""The distillation loss, in cases with known values."""

from math import log

import pytest
import torch
from torch import Tensor

from evalkit.training.distillation import distillation_loss


def _one(*logits: float) -> Tensor:
    return torch.tensor([[logits]])


def test_without_the_soft_part_it_is_the_cross_entropy() -> None:
    """A student without opinion pays log 2, whatever the teacher says."""
    loss = distillation_loss(
        _one(0, 0), _one(-9, 9), torch.tensor([[0]]), temperature=2.0, share=0.0
    )
    assert float(loss) == pytest.approx(log(2))


def test_the_soft_part_is_the_divergence_from_the_softened_teacher() -> None:
    """At temperature 2 the teacher says 3 : 1, the student 1 : 1; the weight is 2 squared."""
    student, teacher, goal = _one(0, 0), _one(2 * log(3), 0), torch.tensor([[0]])
    divergence = 0.75 * log(1.5) + 0.25 * log(0.5)  # of (3/4, 1/4) from (1/2, 1/2)
    loss = distillation_loss(student, teacher, goal, temperature=2.0, share=1.0)
    assert float(loss) == pytest.approx(4 * divergence)
    loss = distillation_loss(student, teacher, goal, temperature=2.0, share=0.25)
    assert float(loss) == pytest.approx(0.75 * log(2) + 0.25 * 4 * divergence)


def test_both_parts_are_means_over_tokens() -> None:
    student, teacher = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    goal = torch.randint(0, 5, (2, 3))
    once = distillation_loss(student, teacher, goal, temperature=2.0, share=0.5)
    twice = distillation_loss(
        student.repeat(1, 2, 1), teacher.repeat(1, 2, 1), goal.repeat(1, 2), temperature=2.0,
        share=0.5,
    )  # fmt: skip
    assert float(twice) == pytest.approx(float(once), rel=1e-5)


def test_a_student_equal_to_its_teacher_has_no_soft_loss() -> None:
    logits, goal = torch.randn(2, 3, 5), torch.randint(0, 5, (2, 3))
    loss = distillation_loss(logits, logits, goal, temperature=3.0, share=1.0)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)


def test_the_gradient_of_the_soft_part_does_not_depend_on_the_temperature() -> None:
    """The square of the temperature keeps it of one size at 2 and at 20."""
    norms: list[float] = []
    for temperature in (2.0, 20.0):
        generator = torch.Generator().manual_seed(0)
        student = (0.1 * torch.randn(4, 50, generator=generator)).requires_grad_(True)
        teacher = 0.1 * torch.randn(4, 50, generator=torch.Generator().manual_seed(1))
        goal = torch.zeros(4, dtype=torch.int64)
        distillation_loss(student, teacher, goal, temperature=temperature, share=1.0).backward()
        assert student.grad is not None
        norms.append(float(student.grad.norm()))
    assert norms[1] == pytest.approx(norms[0], rel=0.05)
