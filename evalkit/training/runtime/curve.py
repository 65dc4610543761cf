"""The record of a training: curve (CSV and PNG), sample grids, speed, memory, progress lines."""

from __future__ import annotations

import csv
import io
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.figures.style import to_bytes
from evalkit.figures.training_curve import training_curve
from evalkit.files import write_atomically
from evalkit.judge.grids import encode_png, tile


class Curve:
    """`<model>.csv` with one row per checkpoint, and its chart `<model>.png`.

    Rows after `start` are dropped: their training was stopped before it saved their checkpoint.
    """

    def __init__(
        self,
        weights: Path,
        columns: tuple[str, ...],
        *,
        start: int = 0,
        images: int = 0,
        device: str = "cpu",
    ) -> None:
        """images: seen in one step, for the throughput."""
        self.path, self.images, self.device = weights.with_suffix(".csv"), images, device
        self.columns = ("step", "seconds", "images_per_second", "memory_gb", *columns)
        self.rows = [row for row in _read(self.path) if int(row["step"]) <= start] if start else []
        self._before = float(self.rows[-1]["seconds"]) if self.rows else 0.0
        self._began = self._lap = time.monotonic()
        self._last, self._speed = start, 0.0

    @contextmanager
    def evaluation(self, step: int) -> Iterator[None]:
        """The time inside does not count towards the throughput."""
        self._speed = self.images * (step - self._last) / max(time.monotonic() - self._lap, 1e-9)
        self._last = step
        yield
        self._lap = time.monotonic()

    def log(self, step: int, **values: float) -> None:
        """Add a row."""
        seconds = self._before + time.monotonic() - self._began
        peak = _memory(self.device)
        row = {
            "step": str(step),
            "seconds": f"{seconds:.1f}",
            "images_per_second": f"{self._speed:.1f}",
            "memory_gb": f"{peak / 2**30:.2f}" if peak else "",
            **{name: f"{value:.4f}" for name, value in values.items()},
        }
        self.rows.append({name: row.get(name, "") for name in self.columns})
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, text.getvalue().encode())
        numbers = [
            {name: float(value) for name, value in row.items() if value} for row in self.rows
        ]
        chart = to_bytes(training_curve(numbers, self.path.stem), "png")
        write_atomically(self.path.with_suffix(".png"), chart)
        line = "  ".join(f"{name} {value}" for name, value in self.rows[-1].items() if value)
        print(line, file=sys.stderr, flush=True)

    def save_samples(self, step: int, images: Tensor, columns: int = 8) -> None:
        """`<model>-samples/<step>.png`: uint8 [N, 3, S, S] by rows, at least 64 pixels wide."""
        path = self.path.with_name(f"{self.path.stem}-samples") / f"{step:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = min(columns, len(images))
        grid = tile(images[: len(images) // columns * columns].cpu(), columns)
        scale = max(1, 64 // images.shape[-1])
        write_atomically(path, encode_png(grid, scale, Image.Resampling.NEAREST))


def check_finite(value: float, step: int, name: str = "loss") -> float:
    """The value itself. Raises EvalkitError where it is not finite, before anything is saved."""
    if not math.isfinite(value):
        raise EvalkitError(
            f"The {name} became {value} at step {step}.",
            "The last checkpoint is kept: continue from it with `--precision fp32`, "
            "or start over with another --seed.",
            code="training-40",
        )
    return value


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _memory(device: str) -> int:
    """The peak in bytes, of the accelerator or else of the process; 0 where it is not known."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
