"""What the networks of several encoders share: their inputs, and exact arithmetic."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, cast

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


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Inference in deterministic IEEE float32, whatever the settings of the process.

    A training script may allow TF32 or bfloat16 products (`torch.set_float32_matmul_precision`), or
    run in `torch.autocast`: features would change in the third digit. Its settings are restored.
    """
    cudnn: Any = torch.backends.cudnn
    places = _precisions()
    flags = cudnn.deterministic, cudnn.benchmark
    precisions = [place.fp32_precision for place in places]
    try:
        earlier = torch.get_float32_matmul_precision()  # of torch's earlier interface
    except RuntimeError:  # where code has used both
        earlier = "highest"
    try:
        torch.set_float32_matmul_precision("highest")
        for place in places:
            place.fp32_precision = "ieee"
        cudnn.deterministic, cudnn.benchmark = True, False
        with contextlib.ExitStack() as stack:
            for device in ("cpu", _accelerator()):
                stack.enter_context(torch.autocast(device, enabled=False))
            stack.enter_context(torch.inference_mode())
            yield
    finally:
        torch.set_float32_matmul_precision(earlier)
        for place, precision in zip(places, precisions, strict=True):
            place.fp32_precision = "none"  # inherited from its backend
            if place.fp32_precision != precision:
                place.fp32_precision = precision
        cudnn.deterministic, cudnn.benchmark = flags


def _accelerator() -> str:
    """The type of device beside the CPU that this build of torch knows; "cpu" if there is none."""
    return getattr(torch.accelerator.current_accelerator(), "type", "cpu")


def _precisions() -> list[Any]:
    """Where torch keeps the precision of float32 products and convolutions."""
    cuda, cudnn, mkldnn = (
        torch.backends.cuda,
        torch.backends.cudnn,
        cast(Any, torch.backends.mkldnn),
    )
    return [cuda.matmul, cudnn.conv, mkldnn.matmul, mkldnn.conv]
