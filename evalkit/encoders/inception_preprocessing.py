"""How a picture becomes the 299 x 299 pixels that Inception sees: the four conventions behind
published numbers.

The resizing filter moves FID more than most models differ from each other (Parmar et al. 2022,
https://arxiv.org/abs/2104.11222), so each convention is an encoder of its own. None of them rounds
after resizing.

| name | resize | scale | tools |
|---|---|---|---|
| tf1 | TensorFlow 1 bilinear: no half-pixel centres, no antialiasing | (x - 128) / 128 | TTUR, ADM,
torch-fidelity, StyleGAN, EDM | | torch | torch bilinear: half-pixel centres, no antialiasing | 2 (x
/ 255) - 1 | pytorch-fid, MLPerf | | clean | Pillow bicubic on float pixels: antialiasing; clipped
to 0 .. 255 | (x - 128) / 128 | clean-fid | | antialias | torch bilinear: half-pixel centres,
antialiasing | (x - 128) / 128 | torchmetrics since 1.8 |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from PIL.Image import Image, Resampling
from torch import Tensor
from torch.nn.functional import interpolate

from evalkit.images import to_tensor

SIZE = 299


class Preprocessing(NamedTuple):
    """One convention in two steps, of which the first runs in loader threads and the second where
    the network is.
    """

    version: str  # a part of the fingerprint: changes when a pixel does
    prepare: Callable[[Image], Tensor]  # any RGB image -> [3, H, W]
    normalised: Callable[
        [Tensor], Tensor
    ]  # [N, 3, H, W] as prepared -> float32 [N, 3, 299, 299] in [-1, 1], channels-last
    dtype: torch.dtype = torch.uint8  # of what is prepared


def tf1_bilinear(images: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] -> float32 [N, 3, 299, 299]: the very bits that TensorFlow 1 computes on a
    CPU, then (x - 128) / 128.

    Pixel i lies at i * H / 299 in float32, between rows floor and floor + 1, of which the last is
    repeated.
    """
    height, width = images.shape[2:]
    rows, columns = _between(height, images.device), _between(width, images.device)
    if height > 2 * SIZE:  # most rows are not looked at
        images = images.index_select(2, torch.cat([rows.low, rows.high]))
        rows = rows._replace(
            low=torch.arange(SIZE, device=images.device),
            high=torch.arange(SIZE, 2 * SIZE, device=images.device),
        )
    return _in_parts(images, 4, lambda some: _interpolated(some, rows, columns))


def _in_parts(images: Tensor, count: int, resize: Callable[[Tensor], Tensor]) -> Tensor:
    """So many pictures at once on a CPU, so that they stay in its cache; all at once elsewhere."""
    parts = images.split(count if images.device.type == "cpu" else max(1, len(images)))
    return torch.cat([resize(part) for part in parts]).contiguous(memory_format=torch.channels_last)


class _Places(NamedTuple):
    low: Tensor  # int64 [299], the pixel before each place
    high: Tensor  # int64 [299], the pixel after it
    share: Tensor  # float32 [299], how far it is from the first


def _interpolated(images: Tensor, rows: _Places, columns: _Places) -> Tensor:
    """Along each row, then between rows, as TensorFlow. The pictures lie side by side: a pixel of
    all is one run of memory.
    """
    x = images.permute(2, 3, 0, 1).contiguous()  # [H, W, N, 3]
    left, right = x.index_select(1, columns.low).float(), x.index_select(1, columns.high).float()
    x = right.sub_(left).mul_(columns.share[:, None, None]).add_(left)  # [H, 299, N, 3]
    upper, lower = x.index_select(0, rows.low), x.index_select(0, rows.high)
    x = lower.sub_(upper).mul_(rows.share[:, None, None, None]).add_(upper)  # [299, 299, N, 3]
    return x.sub_(128).div_(128).permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)


def _between(size: int, device: torch.device) -> _Places:
    place = torch.arange(SIZE, dtype=torch.float32, device=device) * torch.tensor(
        size / SIZE, dtype=torch.float32, device=device
    )
    low = place.long()
    return _Places(low, (low + 1).clamp_max(size - 1), place - low.float())


def torch_bilinear(images: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] -> float32 [N, 3, 299, 299]: pytorch-fid's steps in its order, from 0 .. 1
    to -1 .. 1.
    """

    def resize(some: Tensor) -> Tensor:
        return (
            2
            * interpolate(
                some.to(torch.float32) / 255, (SIZE, SIZE), mode="bilinear", align_corners=False
            )
            - 1
        )

    return _in_parts(images, 1, resize)


def antialiased_bilinear(images: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] -> float32 [N, 3, 299, 299]: as the Inception metrics of torchmetrics do
    since version 1.8.
    """

    def resize(some: Tensor) -> Tensor:
        return _centred(
            interpolate(
                some.to(torch.float32),
                (SIZE, SIZE),
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )
        )

    return _in_parts(images, 1, resize)


def pillow_bicubic(image: Image) -> Tensor:
    """RGB image -> float32 [3, 299, 299] in 0 .. 255: each channel resized as float pixels and
    clipped, as clean-fid does.
    """
    import numpy

    bands = [band.convert("F").resize((SIZE, SIZE), Resampling.BICUBIC) for band in image.split()]
    return torch.from_numpy(
        numpy.stack([numpy.asarray(band, dtype=numpy.float32) for band in bands]).clip(0, 255)
    )


def _centred(images: Tensor) -> Tensor:
    """Pixels 0 .. 255 -> (x - 128) / 128."""
    return ((images - 128) / 128).contiguous(memory_format=torch.channels_last)


TF1 = Preprocessing("tf1-bilinear-299-2", to_tensor, tf1_bilinear)
TORCH = Preprocessing("torch-bilinear-299-1", to_tensor, torch_bilinear)
CLEAN = Preprocessing("pillow-bicubic-float-299-1", pillow_bicubic, _centred, torch.float32)
ANTIALIAS = Preprocessing("torch-bilinear-antialias-299-1", to_tensor, antialiased_bilinear)
