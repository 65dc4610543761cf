"""Mixed precision: choice of the number format, accumulated, clipped and scaled gradients."""

import pytest
import torch
from torch import nn

from evalkit.core import EvalkitError
from evalkit.training.runtime.precision import Descent, choose_precision
from evalkit.training.runtime.processes import Processes


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


def test_fp16_scales_small_gradients_and_skips_steps_that_overflow() -> None:
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


def test_a_precision_has_a_reason() -> None:
    assert choose_precision("bf16", "cpu", Processes()).reason == "bf16: as requested"
    assert "times as fast" in choose_precision("auto", "cpu", Processes()).reason
    with pytest.raises(EvalkitError, match="no precision 'fp8'"):
        choose_precision("fp8", "cpu", Processes())


@pytest.mark.parametrize(("gain", "chosen"), [(3.0, torch.bfloat16), (1.0, torch.float32)])
def test_processes_choose_the_precision_from_their_mean_measurement(
    monkeypatch: pytest.MonkeyPatch, gain: float, chosen: torch.dtype
) -> None:
    monkeypatch.setattr(Processes, "mean", lambda self, value: gain)
    assert choose_precision("auto", "cpu", Processes(1, 2)).dtype == chosen
