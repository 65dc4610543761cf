"""What `reference build` costs beside the encoder: merging moments, and image validation. CPU time,
interleaved, ratios within one run.

python benchmarks/reference_build.py
"""

from __future__ import annotations

import io
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
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


def cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def picture(size: int, kind: str) -> bytes:
    coarse = Image.fromarray(
        np.random.RandomState(0).randint(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
    )
    file = io.BytesIO()
    coarse.resize((size, size), Image.Resampling.BICUBIC).save(
        file, kind, **({"quality": 90} if kind == "JPEG" else {})
    )
    return file.getvalue()


def compare(
    label: str, first: Callable[[], object], second: Callable[[], object], images: int
) -> None:
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        times.append((cpu(first), cpu(second)))
    ratios = sorted(a / b for a, b in times)
    one, other = (statistics.median(column) / images * 1000 for column in zip(*times, strict=True))
    print(
        f"{label}: {one:.3f} against {other:.3f} ms per image, ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


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
        data, times = picture(size, kind), 200 if size == 256 else 20

        def plain(data: bytes = data, times: int = times) -> None:
            for _ in range(times):
                assert not isinstance(decode(data), Unreadable)

        def looked(data: bytes = data, times: int = times) -> None:
            for _ in range(times):
                facts_of(decode(data))

        compare(f"{kind} {size}: decoded with image validation and without", looked, plain, times)


if __name__ == "__main__":
    main()
