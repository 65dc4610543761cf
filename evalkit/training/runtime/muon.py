"""Muon (Jordan et al. 2024): momentum whose update is made orthogonal, for the matrices inside a
network.

torch.optim.Muon does the same, but in bfloat16 only and one matrix after the other: on a processor
without bfloat16 instructions a step of our Transformer took it 1.5 s, as much as twice the rest of
the training step. Here it is float32, all matrices of one shape at once: 0.06 s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def orthogonal(matrices: Tensor) -> Tensor:
    """Float [N, A, B] -> the same singular vectors with singular values near 1, by five
    Newton-Schulz steps of degree five.
    """
    x = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if matrices.shape[1] <= matrices.shape[2] else x.mT


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal; tall matrices take larger steps, by the root of their
    height over their width.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float = 0.02, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for shape, parameters in alike.items():
                updates: list[Tensor] = []
                for parameter in parameters:
                    gradient, state = parameter.grad, self.state[parameter]
                    assert gradient is not None  # only those with one are here
                    average = state.setdefault("average", torch.zeros_like(parameter))
                    average.lerp_(gradient, 1 - group["momentum"])
                    updates.append(gradient.lerp(average, group["momentum"]))
                rate = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, update in zip(
                    parameters, orthogonal(torch.stack(updates).float()), strict=True
                ):
                    parameter.sub_(update, alpha=rate)
