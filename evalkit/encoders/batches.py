"""How many images one call of an encoder has, and what happens where memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from evalkit.core import Encoder

log = logging.getLogger(__name__)
USUAL = 32
MOST = 256  # more images gain little: the cores of a large GPU are busy with fewer
BYTES = 64 << 20  # for the activations of one image: above those of every standard encoder


def size(encoder: Encoder, given: int | None = None) -> int:
    """Images per call: the given number; else on CUDA the largest power of two, from 32 to 256, of
    which each image may take 64 MiB of half of the free memory; else 32.
    """
    if given is not None:
        return given
    device = torch.device(str(getattr(encoder, "device", "cpu")))
    if device.type != "cuda" or not torch.cuda.is_available():
        return USUAL
    free, _ = torch.cuda.mem_get_info(device)
    return fitting(free)


def fitting(free: int) -> int:
    """Images per call for this many bytes of free memory."""
    possible = max(1, free // 2 // BYTES)
    return min(MOST, max(USUAL, 1 << (possible.bit_length() - 1)))


def in_parts(encoder: Encoder) -> Callable[[Tensor], Mapping[str, Tensor]]:
    """Calls of an encoder in batches that are halved where the memory of its device runs out.

    The function that is returned remembers the size for later calls. Raises torch.OutOfMemoryError
    where a single image does not fit, and for an encoder that needs all images of a call at once.
    """
    limit = 0  # images; 0: none so far

    def call(images: Tensor) -> Mapping[str, Tensor]:
        nonlocal limit
        while True:
            try:
                if not limit or len(images) <= limit:
                    return encoder(images)
                parts = [encoder(part) for part in images.split(limit)]
                return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            except torch.OutOfMemoryError:
                tried = min(limit or len(images), len(images))
                if tried == 1 or getattr(encoder, "grouped", False):
                    raise
                limit = (tried + 1) // 2
            torch.cuda.empty_cache()  # after the exception, which holds tensors of the call
            log.warning(
                "%s: %d images do not fit into the memory of %s; it takes %d at a time now",
                encoder.name, tried, getattr(encoder, "device", "its device"), limit,
            )  # fmt: skip

    return call
