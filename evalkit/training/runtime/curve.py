"""The record of a training: its curve as CSV and PNG, grids of samples, speed and memory, one line
on stderr for each checkpoint.
"""

from __future__ import annotations

import csv
import io
import math
import resource
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.files import write_atomically
from evalkit.judge.grids import encode_png, tile
from evalkit.report.chart_style import to_bytes
from evalkit.report.charts import training_curve


class Curve:
    """`<model>.csv`, a row for each checkpoint, and `<model>.png`, drawn anew from it. Rows after
    `start` are of a training that was killed before it could save what they are about: they are
    dropped.
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
        """images: pictures seen in one step, for the throughput."""
        self.path, self.columns = (
            weights.with_suffix(".csv"),
            ("step", "seconds", "images_per_second", "memory_gb", *columns),
        )
        self.images, self.device = images, device
        self.rows = [row for row in _read(self.path) if int(row["step"]) <= start] if start else []
        self._before = float(self.rows[-1]["seconds"]) if self.rows else 0.0
        self._began = self._lap = time.monotonic()
        self._last, self._speed = start, 0.0

    def stop_clock(self, step: int) -> None:
        """The throughput of the steps since the last checkpoint is known here: what comes now is
        evaluation.
        """
        self._speed = self.images * (step - self._last) / max(time.monotonic() - self._lap, 1e-9)
        self._last = step

    def resume_clock(self) -> None:
        """The throughput counts from here."""
        self._lap = time.monotonic()

    def log(self, step: int, **values: float) -> None:
        """Add a row."""
        seconds = self._before + time.monotonic() - self._began
        row = {
            "step": str(step),
            "seconds": f"{seconds:.1f}",
            "images_per_second": f"{self._speed:.1f}",
        }
        row |= {"memory_gb": f"{_memory(self.device) / 2**30:.2f}"} | {
            name: f"{value:.4f}" for name, value in values.items()
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
        write_atomically(
            self.path.with_suffix(".png"), to_bytes(training_curve(numbers, self.path.stem), "png")
        )
        print(
            "  ".join(f"{name} {value}" for name, value in self.rows[-1].items() if value),
            file=sys.stderr,
            flush=True,
        )

    def save_samples(self, step: int, pictures: Tensor, columns: int = 8) -> None:
        """`<model>-samples/<step>.png`: uint8 [N, 3, S, S], row by row, enlarged to at least 64
        pixels each.
        """
        path = self.path.with_name(f"{self.path.stem}-samples") / f"{step:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = min(columns, len(pictures))
        whole = tile(pictures[: len(pictures) // columns * columns].cpu(), columns)
        write_atomically(
            path, encode_png(whole, max(1, 64 // pictures.shape[-1]), Image.Resampling.NEAREST)
        )


def check_finite(value: float, step: int, name: str = "loss") -> float:
    """The value itself. Raises EvalkitError where it is no number: nothing has been saved since it
    was one.
    """
    if not math.isfinite(value):
        raise EvalkitError(
            f"The {name} became {value} at step {step}.",
            "The last good checkpoint is kept: go on from it with --precision fp32, or begin anew with another --seed.",
        )
    return value


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _memory(device: str) -> int:
    """The most bytes so far: of the accelerator, else of the process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
