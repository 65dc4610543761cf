"""Fixed inputs: the same bits on every platform, from the raw numbers of Philox and arithmetic
without rounding.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

COPIES = 10  # rows that occur twice, so that duplicates and memorization are not 0


def integers(count: int, seed: int) -> np.ndarray:
    """int64 [count], -128 to 127."""
    raw = np.random.Philox(key=seed).random_raw(count)  # its stream is guaranteed, unlike `normal`
    return (raw >> np.uint64(56)).astype(np.int64) - 128


def features(count: int, dimension: int, seed: int, shift: int = 0) -> np.ndarray:
    """Correlated features, float32 [count, dimension]: random walks along the dimensions.

    Multiples of 1/256 that float32 holds exactly. shift: in units of 1/256, added to all.
    """
    walks = integers(count * dimension, seed).reshape(count, dimension).cumsum(axis=1)
    return ((walks + shift) / 256).astype(np.float32)


def inputs(fake: int, real: int, dimension: int) -> dict[str, np.ndarray]:
    """Features of generated and reference images and of prompts, float32 [N, D] or [M, D].

    Some generated images are copies of reference images, and some of other generated ones.
    """
    found = {
        "fake": features(fake, dimension, 1, shift=24),
        "real": features(real, dimension, 2),
    }
    found["text"] = found["fake"] + features(fake, dimension, 3)
    found["fake"][:COPIES] = found["real"][:COPIES]
    found["fake"][-COPIES:] = found["fake"][COPIES : 2 * COPIES]
    return found


def images() -> list[Image.Image]:
    """Two drawings, of 80 x 60 and 40 x 70 pixels, from a formula of the row and the column."""
    return [Image.fromarray(_drawing(60, 80)), Image.fromarray(_drawing(70, 40))]


def _drawing(height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3]."""
    row, column = np.mgrid[:height, :width]
    bands = (7 * row + 3 * column, row * column // 8, 255 - (row - column) ** 2 // 16)
    return np.stack([band % 256 for band in bands], axis=2).astype(np.uint8)


def digest(values: np.ndarray) -> list[float]:
    """Three numbers of an array of any shape: the root mean square, the mean, and the mean with
    fixed signs.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    signs = np.where(integers(flat.size, 4) < 0, -1.0, 1.0)
    return [float(np.sqrt((flat**2).mean())), float(flat.mean()), float((flat * signs).mean())]
