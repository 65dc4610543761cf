"""What the networks of several encoders share: their inputs, and their arithmetic."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import torch
from PIL.Image import Image, Resampling
from torch import Tensor

from evalkit.core import Precision
from evalkit.precision import computing


def resize_shorter(image: Image, side: int) -> Image:
    """The image with its shorter side resized to `side` (bicubic), the other one rounded down."""
    short = min(image.size)
    width, height = (
        side if length == short else int(side * length / short) for length in image.size
    )
    return image.resize((width, height), Resampling.BICUBIC)


def centre_crop(image: Image, side: int) -> Image:
    """The square of this side at the centre of an image."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def rounded_crop(image: Image, side: int) -> Image:
    """The square at the centre as torchvision's `CenterCrop` places it: halves of a pixel are
    rounded to an even number, where `centre_crop` (as transformers) rounds down.
    """
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def check(images: Tensor, dtype: torch.dtype, size: int) -> None:
    """Raise ValueError where images are not [N, 3, size, size] of a dtype."""
    if images.dtype != dtype or images.shape[1:] != (3, size, size):
        raise ValueError(
            f"images are {images.dtype} {tuple(images.shape)}; "
            f"expected {str(dtype).removeprefix('torch.')} [N, 3, {size}, {size}]"
        )


def per_channel(values: Sequence[float], device: torch.device) -> Tensor:
    """One number per channel, as float32 [3, 1, 1]."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(3, 1, 1)


def moved(images: Tensor, device: torch.device | str) -> Tensor:
    """The images on the device; from pinned memory without waiting for the copy."""
    return images.to(device, non_blocking=images.is_pinned())


def split(images: Tensor, device: torch.device, cpu_batch: int) -> tuple[Tensor, ...]:
    """Small batches on a CPU, where larger ones leave its caches; one batch elsewhere."""
    return images.split(cpu_batch if device.type == "cpu" else max(1, len(images)))


def normalised(
    images: Tensor,
    mean: Sequence[float],
    deviation: Sequence[float],
    device: torch.device,
    cpu_batch: int,
) -> Iterator[Tensor]:
    """uint8 [N, 3, S, S] -> float32 batches on the device: (x / 255 - mean) / deviation."""
    centre, scale = per_channel(mean, device), per_channel(deviation, device)
    for part in split(images, device, cpu_batch):
        yield (moved(part, device) / 255 - centre) / scale


exact = functools.partial(computing, "exact")  # a context, and a decorator


class _Encoder(Protocol):
    precision: Precision


_E = TypeVar("_E", bound=_Encoder)
_P = ParamSpec("_P")
_R = TypeVar("_R")


def in_its_precision(
    method: Callable[Concatenate[_E, _P], _R],
) -> Callable[Concatenate[_E, _P], _R]:
    """A method that computes in the `precision` of its encoder."""

    @functools.wraps(method)
    def call(self: _E, *args: _P.args, **more: _P.kwargs) -> _R:
        with computing(self.precision):
            return method(self, *args, **more)

    return call
