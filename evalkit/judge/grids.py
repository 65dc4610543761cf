"""Grids of pictures as PNG: the samples of a training, and the comparison of generators."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor


def tile(pictures: Tensor, columns: int) -> Tensor:
    """uint8 [N, 3, S, S] -> uint8 [3, H, W]: row by row, with a white line around each. N is a
    multiple of the columns.
    """
    padded = torch.nn.functional.pad(pictures, (1, 1, 1, 1), value=255)
    return torch.cat([torch.cat(list(row), 2) for row in padded.split(columns)], 1)


def encode_png(picture: Tensor, scale: int, how: Image.Resampling) -> bytes:
    """uint8 [3, H, W], enlarged."""
    image, file = Image.fromarray(picture.permute(1, 2, 0).numpy()), io.BytesIO()
    image.resize((image.width * scale, image.height * scale), how).save(file, "PNG", optimize=True)
    return file.getvalue()
