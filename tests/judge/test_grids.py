"""Grids of images."""

import io

import numpy as np
import torch
from PIL import Image

from evalkit.judge.grids import encode_png, stack_blocks, tile


def test_images_stand_row_by_row_with_white_lines_around() -> None:
    images = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    grid = tile(images, 3)
    assert grid.shape == (3, 8, 12)
    assert grid[0, 1::4, 1::4].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (grid[:, 0::4] == 255).all()
    assert (grid[:, :, 3::4] == 255).all()


def test_a_png_holds_the_enlarged_image() -> None:
    image = torch.tensor([[10, 200]], dtype=torch.uint8).expand(3, 1, 2)
    with Image.open(io.BytesIO(encode_png(image, 2, Image.Resampling.NEAREST))) as png:
        assert np.asarray(png)[:, :, 0].tolist() == [[10, 10, 200, 200]] * 2


def test_blocks_stand_below_each_other() -> None:
    block = torch.zeros(32, 3, 4, 4, dtype=torch.uint8)
    with Image.open(io.BytesIO(stack_blocks([block, block]))) as png:
        assert png.size == (2 * 16 * 6, 2 * (2 * 2 * 6 + 12))
