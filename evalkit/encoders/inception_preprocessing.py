"""How an image becomes the 299 x 299 input of Inception: the four conventions of published numbers.

The resizing filter changes FID more than most models differ from each other (Parmar et al. 2022,
https://arxiv.org/abs/2104.11222), so each convention is an encoder of its own. None of them rounds
after resizing.

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

import torch
from PIL.Image import Image, Resampling
from torch import Tensor
from torch.nn.functional import interpolate

from evalkit.encoders.inputs import split
from evalkit.images import to_tensor

SIZE = 299


class Preprocessing(NamedTuple):
    """A convention in two steps: `prepare` runs in loader threads, `normalised` on the device."""

    version: str  # part of the fingerprint: changes whenever a pixel changes
    prepare: Callable[[Image], Tensor]  # any RGB image -> [3, H, W]
    # prepared [N, 3, H, W] -> float32 [N, 3, 299, 299] in [-1, 1], channels-last
    normalised: Callable[[Tensor], Tensor]
    dtype: torch.dtype = torch.uint8  # of a prepared image


def tf1_bilinear(images: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] -> float32 [N, 3, 299, 299], bit-equal to TensorFlow 1 on a CPU.

    Output pixel i is sampled at i * H / 299 (in float32), between rows floor and floor + 1; the
    last row is repeated. Then (x - 128) / 128.
    """
    height, width = images.shape[2:]
    rows, columns = _samples(height, images.device), _samples(width, images.device)
    if height > 2 * SIZE:  # most rows are not sampled: keep those that are
        images = images.index_select(2, torch.cat([rows.low, rows.high]))
        rows = rows._replace(
            low=torch.arange(SIZE, device=images.device),
            high=torch.arange(SIZE, 2 * SIZE, device=images.device),
        )
    return _in_batches(images, 4, lambda part: _interpolated(part, rows, columns))


def _in_batches(images: Tensor, cpu_batch: int, resize: Callable[[Tensor], Tensor]) -> Tensor:
    resized = [resize(part) for part in split(images, images.device, cpu_batch)]
    return torch.cat(resized).contiguous(memory_format=torch.channels_last)


class _Samples(NamedTuple):
    low: Tensor  # int64 [299], the pixel before each sample
    high: Tensor  # int64 [299], the pixel after it
    weight: Tensor  # float32 [299], of the pixel after it


def _samples(size: int, device: torch.device) -> _Samples:
    step = torch.tensor(size / SIZE, dtype=torch.float32, device=device)
    position = torch.arange(SIZE, dtype=torch.float32, device=device) * step
    low = position.long()
    return _Samples(low, (low + 1).clamp_max(size - 1), position - low.float())


def _interpolated(images: Tensor, rows: _Samples, columns: _Samples) -> Tensor:
    """Along rows, then along columns, in TensorFlow's order of operations."""
    x = images.permute(2, 3, 0, 1).contiguous()  # [H, W, N, 3]: a pixel of all images is contiguous
    left, right = x.index_select(1, columns.low).float(), x.index_select(1, columns.high).float()
    x = right.sub_(left).mul_(columns.weight[:, None, None]).add_(left)  # [H, 299, N, 3]
    upper, lower = x.index_select(0, rows.low), x.index_select(0, rows.high)
    x = lower.sub_(upper).mul_(rows.weight[:, None, None, None]).add_(upper)  # [299, 299, N, 3]
    return x.sub_(128).div_(128).permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)


def torch_bilinear(images: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] -> float32 [N, 3, 299, 299], by the operations of pytorch-fid in order."""
    return _in_batches(images, 1, lambda part: 2 * _bilinear(part.float() / 255) - 1)


def antialiased_bilinear(images: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] -> float32 [N, 3, 299, 299], as torchmetrics since version 1.8."""
    return _in_batches(images, 1, lambda part: _scaled(_bilinear(part.float(), antialias=True)))


def _bilinear(images: Tensor, antialias: bool = False) -> Tensor:
    return interpolate(
        images, (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=antialias
    )


def pillow_bicubic(image: Image) -> Tensor:
    """RGB image -> float32 [3, 299, 299] in 0 .. 255, as clean-fid: each channel resized in
    float32, then clipped.
    """
    import numpy

    bands = [band.convert("F").resize((SIZE, SIZE), Resampling.BICUBIC) for band in image.split()]
    return torch.from_numpy(
        numpy.stack([numpy.asarray(band, dtype=numpy.float32) for band in bands]).clip(0, 255)
    )


def _scaled(images: Tensor) -> Tensor:
    """0 .. 255 -> [-1, 1): (x - 128) / 128."""
    return ((images - 128) / 128).contiguous(memory_format=torch.channels_last)


TF1 = Preprocessing("tf1-bilinear-299-2", to_tensor, tf1_bilinear)
TORCH = Preprocessing("torch-bilinear-299-1", to_tensor, torch_bilinear)
CLEAN = Preprocessing("pillow-bicubic-float-299-1", pillow_bicubic, _scaled, torch.float32)
ANTIALIAS = Preprocessing("torch-bilinear-antialias-299-1", to_tensor, antialiased_bilinear)
