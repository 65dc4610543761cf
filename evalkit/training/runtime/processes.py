"""Several training processes that act as one: shares of every batch, averaged gradients.

`torchrun` starts them. The result is that of one process with the same batch: random numbers are
drawn for the whole batch from the seed and the number of the step, then shared out. Evaluation
needs no process group.
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
from evalkit.hints import plural


@dataclass(frozen=True)
class Processes:
    """This process among those of a training."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def shares(self, batch: int, accumulate: int) -> list[slice]:
        """The places of a batch that this process takes, part after part.

        Raises EvalkitError where the batch cannot be divided evenly.
        """
        parts = self.count * accumulate
        if batch % parts:
            raise EvalkitError(
                f"A batch of {batch} cannot be divided among"
                f" {plural(self.count, 'process', 'processes')} in {plural(accumulate, 'part')}"
                " each.",
                f"Expected a multiple of {parts}: change --batch or --accumulate.",
                code="training-42",
            )
        size = batch // parts
        return [
            slice(place * size, (place + 1) * size)
            for place in range(self.rank * accumulate, (self.rank + 1) * accumulate)
        ]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes, in one message."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        together /= self.count
        means = together.split([gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
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
        """The rows of all processes, in the order of their ranks: [N, ...] -> [count * N, ...].

        Gradients flow back to the process that each row comes from.
        """
        if self.count == 1:
            return rows
        place = rows.new_zeros(self.count, *rows.shape)
        place[self.rank] = rows
        return all_reduce(place).flatten(0, 1)


class _AllReduce(torch.autograd.Function):
    """The sum over processes. Its gradient is the sum of the gradients of all processes."""

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


def all_reduce(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes; gradients flow through it.

    torch.distributed.nn.functional.all_reduce, which does the same, is deprecated.
    """
    total = _AllReduce.apply(values)
    assert isinstance(total, Tensor)
    return total


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the batch of all processes (torch's own needs an accelerator)."""

    def forward(self, input: Tensor) -> Tensor:  # [N, C, H, W]
        if not self.training:
            return super().forward(input)
        x, processes = input.float(), distributed.get_world_size()
        moments = torch.stack((x.mean((0, 2, 3)), x.square().mean((0, 2, 3))))  # [2, C]
        mean, square = all_reduce(moments) / processes
        variance = square - mean.square()
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        values, keep = x.numel() // x.shape[1] * processes, 1 - (self.momentum or 0.1)
        unbiased = variance.detach() * values / (values - 1)
        self.running_mean.mul_(keep).add_(mean.detach(), alpha=1 - keep)
        self.running_var.mul_(keep).add_(unbiased, alpha=1 - keep)
        self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        y = (x - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]
        return y.to(input.dtype)


def share_batch_norm(network: nn.Module, processes: Processes) -> None:
    """Normalise over the images of all processes in every batch normalisation of a network."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and processes.count > 1:
            module.__class__ = SharedBatchNorm


def join(device: str) -> tuple[Processes, str]:
    """The processes of torchrun, or this one alone without it; and the device of this process.

    The group is joined once and left at the end of the program, because one program may run several
    trainings.
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
