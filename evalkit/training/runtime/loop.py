"""What every training loop needs and no loop should repeat: its settings, the schedule, the order
of the data, random numbers.

All that is random in a step comes from the seed and the number of the step. So a training that was
killed goes on bit for bit, and several processes agree without a word, although nobody keeps the
state of a random generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from evalkit.seeds import image_seed


@dataclass(frozen=True)
class Settings:
    """How a training runs, whatever it trains."""

    # the weights, <folder>/<model>.safetensors; curve, samples and checkpoint lie beside them
    out: Path
    seed: int
    steps: int
    batch: int  # of all processes together
    accumulate: int = 1  # parts in which each process takes its share of a batch
    precision: str = "auto"  # bf16, fp16, fp32
    device: str = "cpu"
    every: int = 250  # steps between checkpoints


def random_of(seed: int, step: int, place: int) -> Random:
    """The random choices about one example of one step, such as the words of its caption."""
    return Random(image_seed(seed, f"step {step}", place))


def generator_of(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step, drawn for the whole batch."""
    return torch.Generator().manual_seed(image_seed(seed, "step", step))


def batch_of(step: int, lots: Tensor, batch: int, seed: int) -> Tensor:
    """The rows of one step, int64 [batch]: every epoch is a shuffle of its own, and consecutive
    batches go on through it.
    """
    positions = torch.arange(step * batch, (step + 1) * batch)
    epochs = [
        _shuffled(len(lots), seed, epoch)
        for epoch in range(int(positions[0]) // len(lots), int(positions[-1]) // len(lots) + 1)
    ]
    return lots[torch.cat(epochs)[positions - int(positions[0]) // len(lots) * len(lots)]]


@lru_cache(maxsize=2)
def _shuffled(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(
        count, generator=torch.Generator().manual_seed(image_seed(seed, "epoch", epoch))
    )


def schedule(step: int, steps: int, warm_up: int = 100) -> float:
    """The share of the peak learning rate: linear warm-up, constant, linear decay to 2% over the
    second half.
    """
    return min(1.0, (step + 1) / warm_up, max(0.02, 2 * (1 - step / steps)))
