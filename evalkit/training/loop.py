"""What every training loop needs and no loop should repeat: the schedule, the precision, the curve and the progress line."""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from evalkit.core import EvalkitError


def schedule(step: int, steps: int, warm_up: int = 100) -> float:
    """The share of the peak learning rate: linear warm-up, constant, linear decay to 2% over the second half."""
    return min(1.0, (step + 1) / warm_up, max(0.02, 2 * (1 - step / steps)))


def choose_precision(wanted: str, device: str) -> tuple[torch.dtype, str]:
    """The arithmetic of matrix products, and the reason for it. `wanted`: auto, bf16 or fp32."""
    if wanted == "fp32":
        return torch.float32, "fp32: asked for"
    if wanted == "bf16":
        return torch.bfloat16, "bf16: asked for"
    if device.startswith("cuda"):
        return torch.bfloat16, "bf16: the accelerator has it"
    matrix = torch.randn(1024, 256)
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        cast = matrix.to(dtype)
        torch.mm(cast, cast.T)
        start = time.perf_counter()
        for _ in range(5):
            torch.mm(cast, cast.T)
        seconds[dtype] = time.perf_counter() - start
    gain = seconds[torch.float32] / seconds[torch.bfloat16]
    if gain > 1.5:
        return torch.bfloat16, f"bf16: a matrix product is {gain:.1f} times as fast as in fp32 on this processor"
    return torch.float32, f"fp32: bf16 is only {gain:.1f} times as fast on this processor"


def autocast(dtype: torch.dtype, device: str) -> AbstractContextManager[object]:
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.split(":")[0], dtype)


class Curve:
    """The training curve as CSV, appended row by row, and one line on stderr per row."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path, self.columns, self.start = path, ("step", "seconds", *columns), time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            self._append(self.columns)

    def log(self, step: int, **values: float) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                raise EvalkitError(
                    f"{name} became {value} at step {step}.", "The last good checkpoint is kept; lower the learning rate and resume."
                )
        row = {"step": step, "seconds": round(time.monotonic() - self.start, 1)} | {name: round(value, 4) for name, value in values.items()}
        self._append([row.get(name, "") for name in self.columns])
        print("  ".join(f"{name} {value}" for name, value in row.items()), file=sys.stderr, flush=True)

    def _append(self, row: object) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(row)  # pyright: ignore[reportArgumentType]


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Endless batches of row numbers, shuffled anew in every epoch."""
    while True:
        order = torch.randperm(count, generator=generator)
        yield from order[: count - count % size].split(size)
