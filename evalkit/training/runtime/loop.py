"""What every training loop needs: its settings, its processes, the data order, random numbers.

All random numbers of a step are derived from the seed and the number of the step. Therefore a
resumed training gives the same bits as an uninterrupted one, and several processes agree without
communication. No state of a random generator is stored.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from evalkit.seeds import image_seed
from evalkit.training.runtime.precision import ComputePrecision, choose_precision
from evalkit.training.runtime.processes import Processes, join

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How a training runs, whatever it trains."""

    out: Path  # the weights, <folder>/<model>.safetensors; curve, samples, checkpoint go beside it
    seed: int
    steps: int
    batch: int  # of all processes together
    accumulate: int = 1  # parts in which each process takes its share of a batch
    precision: str = "auto"  # bf16, fp16, fp32
    device: str = "cpu"
    every: int = 250  # steps between checkpoints


@dataclass(frozen=True)
class TrainingRun:
    """A training in this process."""

    settings: Settings
    processes: Processes
    device: str
    precision: ComputePrecision
    shares: list[slice]  # the parts of a batch that this process takes, one after the other

    def batch(self, step: int, rows: Tensor) -> list[int]:
        """The rows of one step, of all processes together."""
        return batch_of(step, rows, self.settings.batch, self.settings.seed).tolist()

    def randoms(self, step: int) -> list[Random]:
        """The random choices about each example of one step, of all processes together."""
        return [random_of(self.settings.seed, step, place) for place in range(self.settings.batch)]

    def generator(self, step: int) -> torch.Generator:
        """The random numbers of one step, drawn for the whole batch."""
        return generator_of(self.settings.seed, step)

    def saves_after(self, steps: int) -> bool:
        """Whether this process writes a checkpoint after so many steps."""
        due = steps % self.settings.every == 0 or steps == self.settings.steps
        return self.processes.first and due


def start_run(settings: Settings) -> TrainingRun:
    """Join the other processes, choose the precision and seed the initial weights."""
    processes, device = join(settings.device)
    precision = choose_precision(settings.precision, device, processes)
    log.info("%s", precision.reason)
    shares = processes.shares(settings.batch, settings.accumulate)
    torch.manual_seed(settings.seed)
    return TrainingRun(settings, processes, device, precision, shares)


def random_of(seed: int, step: int, place: int) -> Random:
    """The random choices about one example of one step, such as the words of its caption."""
    return Random(image_seed(seed, f"step {step}", place))


def generator_of(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step, drawn for the whole batch."""
    return torch.Generator().manual_seed(image_seed(seed, "step", step))


def batch_of(step: int, rows: Tensor, batch: int, seed: int) -> Tensor:
    """The rows of one step, int64 [batch], taken in turn from the shuffled rows of each epoch."""
    positions = torch.arange(step * batch, (step + 1) * batch)
    first, last = int(positions[0]) // len(rows), int(positions[-1]) // len(rows)
    epochs = [_shuffled(len(rows), seed, epoch) for epoch in range(first, last + 1)]
    return rows[torch.cat(epochs)[positions - first * len(rows)]]


@lru_cache(maxsize=2)
def _shuffled(count: int, seed: int, epoch: int) -> Tensor:
    generator = torch.Generator().manual_seed(image_seed(seed, "epoch", epoch))
    return torch.randperm(count, generator=generator)


def schedule(step: int, steps: int, warm_up: int = 100) -> float:
    """The factor of the peak learning rate: linear warm-up, constant, then linear decay to 2%.

    The decay takes the second half of the steps.
    """
    return min(1.0, (step + 1) / warm_up, max(0.02, 2 * (1 - step / steps)))
