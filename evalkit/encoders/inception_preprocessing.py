"""How an image becomes the 299 x 299 input of Inception: the four conventions of published numbers.

The resizing filter changes FID more than most models differ from each other (Parmar et al. 2022,
https://arxiv.org/abs/2104.11222), so each convention is an encoder of its own. None of them rounds
after resizing. The thread that decodes an image resizes it too: images of all sizes fill one batch,
and a large one is in memory for a moment only.

| name      | resize                                               | scale           |
|-----------|------------------------------------------------------|-----------------|
| tf1       | TensorFlow 1 bilinear, no antialiasing               | (x - 128) / 128 |
| torch     | torch bilinear, no antialiasing                      | 2 (x / 255) - 1 |
| clean     | Pillow bicubic, antialiased, clipped to 0 .. 255     | (x - 128) / 128 |
| antialias | torch bilinear, antialiased                          | (x - 128) / 128 |

TensorFlow 1 samples without half-pixel centres, torch with them. The tools of each convention are
listed in `inception_conventions`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image, Resampling
from torch import Tensor
from torch.nn.functional import interpolate

from evalkit.images import to_tensor

SIZE = 299


class Preprocessing(NamedTuple):
    """One convention."""

    version: str  # part of the fingerprint: changes whenever a pixel changes
    prepare: Callable[[Image], Tensor]  # any RGB image -> float32 [3, 299, 299] in [-1, 1]


def tf1_bilinear(image: Image) -> Tensor:
    """RGB image -> float32 [3, 299, 299], bit-equal to TensorFlow 1 on a CPU.

    Output pixel i is sampled at i * H / 299 (in float32), between rows floor and floor + 1; the
    last row is repeated. Rows are interpolated first, then columns. Then (x - 128) / 128.
    """
    pixels = np.asarray(image)
    rows, columns = _samples(image.height), _samples(image.width)
    if image.height > 2 * SIZE:  # most rows are not sampled: keep those that are
        pixels = pixels[np.concatenate([rows.low, rows.high])]
        rows = rows._replace(low=np.arange(SIZE), high=np.arange(SIZE, 2 * SIZE))
    x = _between(pixels.take(columns.low, 1), pixels.take(columns.high, 1), columns.weight[:, None])
    x = _between(x[rows.low], x[rows.high], rows.weight[:, None, None])  # [299, 299, 3]
    return _scaled(torch.from_numpy(x).permute(2, 0, 1))


_Pixels = NDArray[np.uint8] | NDArray[np.float32]


class _Samples(NamedTuple):
    low: NDArray[np.int64]  # [299], the pixel before each sample
    high: NDArray[np.int64]  # [299], the pixel after it
    weight: NDArray[np.float32]  # [299], of the pixel after it


def _samples(size: int) -> _Samples:
    position = np.arange(SIZE, dtype=np.float32) * np.float32(size / SIZE)
    low = position.astype(np.int64)
    return _Samples(low, np.minimum(low + 1, size - 1), position - low.astype(np.float32))


def _between(low: _Pixels, high: _Pixels, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """(high - low) * weight + low, rounded after each step as TensorFlow does."""
    x = high.astype(np.float32)
    x -= low
    x *= weight
    x += low
    return x


def torch_bilinear(image: Image) -> Tensor:
    """RGB image -> float32 [3, 299, 299], by the operations of pytorch-fid in their order."""
    return 2 * _bilinear(to_tensor(image).float() / 255) - 1


def antialiased_bilinear(image: Image) -> Tensor:
    """RGB image -> float32 [3, 299, 299], as torchmetrics since version 1.8."""
    return _scaled(_bilinear(to_tensor(image).float(), antialias=True))


def _bilinear(image: Tensor, antialias: bool = False) -> Tensor:
    return interpolate(
        image[None], (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=antialias
    )[0]


def pillow_bicubic(image: Image) -> Tensor:
    """RGB image -> float32 [3, 299, 299], as clean-fid: each channel resized in float32, then
    clipped to 0 .. 255.
    """
    bands = [band.convert("F").resize((SIZE, SIZE), Resampling.BICUBIC) for band in image.split()]
    resized = np.stack([np.asarray(band, dtype=np.float32) for band in bands]).clip(0, 255)
    return _scaled(torch.from_numpy(resized))


def _scaled(image: Tensor) -> Tensor:
    """0 .. 255 -> [-1, 1): (x - 128) / 128, in place."""
    return image.sub_(128).div_(128)


TF1 = Preprocessing("tf1-bilinear-299-2", tf1_bilinear)
TORCH = Preprocessing("torch-bilinear-299-1", torch_bilinear)
CLEAN = Preprocessing("pillow-bicubic-float-299-1", pillow_bicubic)
ANTIALIAS = Preprocessing("torch-bilinear-antialias-299-1", antialiased_bilinear)
