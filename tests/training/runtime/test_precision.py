"""Muon, mixed precision, clipping, distillation: each does what it is there for."""

import pytest
import torch
from torch import nn

from evalkit.core import EvalkitError
from evalkit.training.distillation import distillation_loss
from evalkit.training.runtime.muon import Muon, orthogonalise
from evalkit.training.runtime.precision import Descent, choose_precision
from evalkit.training.runtime.processes import Processes


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 32, 8), (2, 8, 32)])
def test_singular_values_come_near_one(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert float(values.min()) > 0.3
    assert float(values.max()) < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    alignment = (
        torch.einsum("nij,nij->n", orthogonalise(matrices), left @ right)
        / shape[1:][0 if shape[1] < shape[2] else 1]
    )
    assert float(alignment.min()) > 0.7  # the same singular vectors


def test_muon_steps_like_that_of_torch() -> None:
    """Beside torch's, which computes in bfloat16, on matrices where both take the same rate."""
    torch.manual_seed(0)
    ours, theirs = (
        nn.Parameter(torch.randn(16, 8, generator=torch.Generator().manual_seed(1)))
        for _ in range(2)
    )
    before = ours.detach().clone()
    optimisers = (
        Muon([ours], lr=0.1),
        torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0, momentum=0.95),
    )
    for _ in range(3):
        gradient = torch.randn(16, 8)
        for parameter, optimiser in zip((ours, theirs), optimisers, strict=True):
            parameter.grad = gradient.clone()
            optimiser.step()
    moved, difference = (ours - before).detach().norm(), (ours - theirs).detach().norm()
    assert float(difference) < 0.03 * float(moved)


def _descent(network: nn.Linear, precision: str = "fp32", clip: float = 0.0) -> Descent:
    parameters = list(network.parameters())
    return Descent(
        parameters,
        {"sgd": torch.optim.SGD(parameters, lr=1.0)},
        choose_precision(precision, "cpu", Processes()),
        Processes(),
        clip=clip,
    )


def test_gradients_of_parts_add_up_to_that_of_the_whole() -> None:
    torch.manual_seed(0)
    x, networks = torch.randn(8, 3), [nn.Linear(3, 1) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    for network, parts in zip(networks, (1, 4), strict=True):
        descent = _descent(network)
        for part in x.chunk(parts):
            descent.backward(network(part).square().mean(), parts)
        descent.step()
    assert torch.allclose(networks[0].weight, networks[1].weight, atol=1e-6)


def test_the_norm_of_all_gradients_is_clipped() -> None:
    network = nn.Linear(3, 1)
    before = torch.cat([p.detach().flatten().clone() for p in network.parameters()])
    descent = _descent(network, clip=0.5)
    descent.backward(1000 * network(torch.ones(1, 3)).sum())
    descent.step()
    after = torch.cat([p.detach().flatten() for p in network.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.5, rel=1e-4)


def test_fp16_scales_small_gradients_over_its_smallest_number_and_skips_steps_that_overflow() -> (
    None
):
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    descent = _descent(network, "fp16")
    with choose_precision("fp16", "cpu", Processes()).autocast():
        loss = 1e-9 * network(torch.ones(1, 1)).float().sum()  # its gradient in fp16 would be 0
    descent.backward(loss)
    assert network.weight.grad is not None
    assert float(network.weight.grad) > 0
    descent.step()
    before, scale = network.weight.item(), descent.scaler.get_scale()
    descent.backward(network(torch.full((1, 1), float("inf"))).sum())
    descent.step()
    assert network.weight.item() == before
    assert descent.scaler.get_scale() < scale


def test_the_reason_for_a_precision_is_said() -> None:
    assert choose_precision("bf16", "cpu", Processes()).reason == "bf16: asked for"
    assert "times as fast" in choose_precision("auto", "cpu", Processes()).reason
    with pytest.raises(EvalkitError, match="no precision 'fp8'"):
        choose_precision("fp8", "cpu", Processes())


@pytest.mark.parametrize(("gain", "chosen"), [(3.0, torch.bfloat16), (1.0, torch.float32)])
def test_processes_choose_the_precision_by_what_they_measured_together(
    monkeypatch: pytest.MonkeyPatch, gain: float, chosen: torch.dtype
) -> None:
    monkeypatch.setattr(Processes, "mean", lambda self, value: gain)
    assert choose_precision("auto", "cpu", Processes(1, 2)).dtype == chosen


def test_distillation_by_hand() -> None:
    student, teacher, goal = (
        torch.tensor([[[1.0, 0.0]]]),
        torch.tensor([[[0.0, 2.0]]]),
        torch.tensor([[0]]),
    )
    truth = -student.log_softmax(-1)[0, 0, 0]
    p, q = (teacher / 2).softmax(-1), (student / 2).softmax(-1)
    soft = (p * (p.log() - q.log())).sum()
    assert float(
        distillation_loss(student, teacher, goal, temperature=2.0, share=0.25)
    ) == pytest.approx(float(0.75 * truth + 0.25 * 4 * soft))


def test_a_student_that_is_its_teacher_learns_from_the_truth_only() -> None:
    logits, goal = torch.randn(2, 3, 5), torch.randint(0, 5, (2, 3))
    assert float(
        distillation_loss(logits, logits, goal, temperature=3.0, share=1.0)
    ) == pytest.approx(0.0, abs=1e-6)


def test_the_soft_part_keeps_its_weight_whatever_the_temperature() -> None:
    """Its gradient is of the same size at 2 and at 20, which is what the square of the temperature
    is for.
    """
    norms = []
    for temperature in (2.0, 20.0):
        student = (
            0.1 * torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
        ).requires_grad_(True)
        teacher = 0.1 * torch.randn(4, 50, generator=torch.Generator().manual_seed(1))
        distillation_loss(
            student, teacher, torch.zeros(4, dtype=torch.int64), temperature=temperature, share=1.0
        ).backward()
        assert student.grad is not None
        norms.append(float(student.grad.norm()))
    assert norms[1] == pytest.approx(norms[0], rel=0.05)
