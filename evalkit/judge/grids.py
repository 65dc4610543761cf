"""Grids of images as PNG: the samples of a training, and the comparison of generators."""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor


def tile(images: Tensor, columns: int) -> Tensor:
    """uint8 [N, 3, S, S] -> uint8 [3, H, W], row by row, with a white line around each image. N is
    a multiple of the columns.
    """
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), value=255)
    return torch.cat([torch.cat(list(row), 2) for row in padded.split(columns)], 1)


def encode_png(image: Tensor, scale: int, filtering: Image.Resampling) -> bytes:
    """uint8 [3, H, W], enlarged by the scale."""
    source, file = Image.fromarray(image.permute(1, 2, 0).numpy()), io.BytesIO()
    size = (source.width * scale, source.height * scale)
    source.resize(size, filtering).save(file, "PNG", optimize=True)
    return file.getvalue()


def stack_blocks(blocks: Sequence[Tensor], columns: int = 16, scale: int = 2) -> bytes:
    """A PNG with one grid per block, each uint8 [N, 3, S, S], below each other."""
    grids = [tile(block, columns) for block in blocks]
    gap = torch.full((3, 12, grids[0].shape[2]), 255, dtype=torch.uint8)
    parts = [part for grid in grids for part in (grid, gap)][:-1]
    return encode_png(torch.cat(parts, 1), scale, Image.Resampling.LANCZOS)
