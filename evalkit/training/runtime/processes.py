"""Several processes as one: each takes its share of every batch, and gradients are averaged.
`torchrun` starts them.

The result is that of one process with the same batch: whatever is random is drawn for the whole
batch from the seed and the number of the step, and then shared out. Evaluation needs none of this.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from evalkit.core import EvalkitError


@dataclass(frozen=True)
class Processes:
    """This process among those of a training."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and says how it goes."""
        return self.rank == 0

    def shares(self, batch: int, accumulate: int) -> list[slice]:
        """Which places of a batch this process takes, part after part. Raises EvalkitError where
        they cannot be shared out evenly.
        """
        parts = self.count * accumulate
        if batch % parts:
            raise EvalkitError(
                f"A batch of {batch} cannot be shared among {self.count} processes in {accumulate} parts each.",
                f"Expected a multiple of {parts}: change --batch or --accumulate.",
            )
        size = batch // parts
        return [
            slice(place * size, (place + 1) * size)
            for place in range(self.rank * accumulate, (self.rank + 1) * accumulate)
        ]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes, all in one message."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        together /= self.count
        for gradient, mean in zip(
            gradients, together.split([gradient.numel() for gradient in gradients]), strict=True
        ):
            gradient.copy_(mean.view_as(gradient))

    def mean(self, value: float) -> float:
        """The mean of a number over the processes."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        if distributed.get_backend() == "nccl":
            total = total.cuda()
        distributed.all_reduce(total)
        return float(total) / self.count

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in their order; gradients find their way back. [N, ...] ->
        [count * N, ...].
        """
        if self.count == 1:
            return rows
        place = rows.new_zeros(self.count, *rows.shape)
        place[self.rank] = rows
        return add_up(place).flatten(0, 1)


class _AddUp(torch.autograd.Function):
    """The sum over processes; what each of them then does with it comes back as the sum of their
    gradients.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total


def add_up(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes, through which gradients flow."""
    total = _AddUp.apply(values)
    assert isinstance(total, Tensor)
    return total


class TogetherNorm(nn.BatchNorm2d):
    """Batch normalisation over the batch of all processes (torch's own needs an accelerator)."""

    def forward(self, input: Tensor) -> Tensor:  # [N, C, H, W]
        if not self.training:
            return super().forward(input)
        x = input.float()
        moments = torch.stack((x.mean((0, 2, 3)), x.square().mean((0, 2, 3))))  # [2, C]
        mean, square = add_up(moments) / distributed.get_world_size()
        variance = square - mean.square()
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        values, keep = (
            x.numel() // x.shape[1] * distributed.get_world_size(),
            1 - (self.momentum or 0.1),
        )
        self.running_mean.mul_(keep).add_(mean.detach(), alpha=1 - keep)
        self.running_var.mul_(keep).add_(variance.detach() * values / (values - 1), alpha=1 - keep)
        self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        return ((x - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]).to(
            input.dtype
        )


def normalise_together(network: nn.Module, own: Processes) -> None:
    """Let every batch normalisation of a network count the pictures of all processes."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and own.count > 1:
            module.__class__ = TogetherNorm


def join(device: str) -> tuple[Processes, str]:
    """The processes that torchrun started (its variables are in the environment), else this one
    alone; and the device of this one.

    The group is joined once and left at the end of the program: several trainings may follow each
    other in it.
    """
    if "WORLD_SIZE" not in os.environ:
        return Processes(), device
    on_cuda = device.startswith("cuda")
    if on_cuda:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if on_cuda else "gloo")
        atexit.register(distributed.destroy_process_group)
    return Processes(distributed.get_rank(), distributed.get_world_size()), device
