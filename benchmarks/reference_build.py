"""The cost of `reference build` besides the encoder: merging moments, and image validation.

    python benchmarks/reference_build.py

CPU time, interleaved, as ratios within one run.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable

import numpy as np
import peers  # before torch: sets the number of threads
import torch
from PIL import Image

from evalkit.core import Moments
from evalkit.features.validation import facts_of
from evalkit.images import Unreadable, decode
from evalkit.metrics import frechet

ROUNDS, ROWS, DIMENSION = 5, 1024, 2048


def merged_every(rows: torch.Tensor, block: int) -> Moments:
    total: Moments | None = None
    for part in rows.split(block):
        found = frechet.moments(part)
        total = found if total is None else frechet.merge_moments(total, found)
    assert total is not None
    return total


def encoded(size: int, kind: str) -> bytes:
    pixels = np.random.RandomState(0).randint(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return file.getvalue()


def compare(
    label: str, first: Callable[[], object], second: Callable[[], object], images: int
) -> None:
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        times.append((peers.cpu_seconds(first), peers.cpu_seconds(second)))
    ratios = peers.spread([a / b for a, b in times])
    one, other = (statistics.median(column) / images * 1000 for column in zip(*times, strict=True))
    print(f"{label}: {one:.3f} against {other:.3f} ms per image, ratio {ratios}")


def main() -> None:
    torch.set_num_threads(1)
    rows = torch.randn(ROWS, DIMENSION, dtype=torch.float64)
    compare(
        f"moments of {DIMENSION} dimensions, merged every 32 and every 512",
        lambda: merged_every(rows, 32),
        lambda: merged_every(rows, 512),
        ROWS,
    )
    for kind, size in (("PNG", 256), ("PNG", 1024), ("JPEG", 256), ("JPEG", 1024)):
        data, times = encoded(size, kind), 200 if size == 256 else 20

        def plain(data: bytes = data, times: int = times) -> None:
            for _ in range(times):
                assert not isinstance(decode(data), Unreadable)

        def validated(data: bytes = data, times: int = times) -> None:
            for _ in range(times):
                facts_of(decode(data))

        compare(f"{kind} {size}: decoded with and without validation", validated, plain, times)


if __name__ == "__main__":
    main()
