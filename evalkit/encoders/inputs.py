"""What the networks of several encoders share: checked, cropped, normalised and split inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from PIL.Image import Image, Resampling
from torch import Tensor


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


def check(images: Tensor, dtype: torch.dtype, size: int) -> None:
    """Raise ValueError where images are not [N, 3, size, size] of a dtype."""
    if images.dtype != dtype or images.shape[1:] != (3, size, size):
        raise ValueError(
            f"images are {images.dtype} {tuple(images.shape)}; "
            f"expected {str(dtype).removeprefix('torch.')} [N, 3, {size}, {size}]"
        )


def per_channel(values: Sequence[float], device: torch.device) -> Tensor:
    """One number per channel, as float32 [3, 1, 1]."""
    return torch.tensor(values, device=device).view(3, 1, 1)


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
        yield (part.to(device) / 255 - centre) / scale


def exact_convolutions() -> AbstractContextManager[None]:
    """Deterministic cuDNN convolutions without TF32."""
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
