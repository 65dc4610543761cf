"""Crops, checks and batches of the inputs of the networks."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from evalkit.encoders import inputs

CPU, META = torch.device("cpu"), torch.device("meta")


@pytest.mark.parametrize(("size", "left", "top"), [((7, 4), 1, 0), ((4, 9), 0, 2), ((4, 4), 0, 0)])
def test_the_centre_square_is_cropped(size: tuple[int, int], left: int, top: int):
    image = Image.new("L", size)
    image.paste(255, (left, top, left + 4, top + 4))
    cropped = inputs.centre_crop(image, 4)
    assert cropped.size == (4, 4)
    assert cropped.getextrema() == (255, 255)


def test_other_types_and_sizes_are_refused():
    inputs.check(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.uint8, 8)
    for images in (torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 9, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"expected uint8 \[N, 3, 8, 8\]"):
            inputs.check(images, torch.uint8, 8)


def test_batches_are_small_on_a_cpu_only():
    assert [len(part) for part in inputs.split(torch.zeros(10, 1), CPU, 4)] == [4, 4, 2]
    assert [len(part) for part in inputs.split(torch.zeros(10, 1), META, 4)] == [10]
    assert [len(part) for part in inputs.split(torch.zeros(0, 1), CPU, 4)] == [0]


def test_an_image_of_the_mean_colour_is_zero():
    mean, deviation = (0.2, 0.4, 0.6), (0.5, 1.0, 2.0)
    images = torch.tensor([51, 102, 153], dtype=torch.uint8).view(1, 3, 1, 1).repeat(5, 1, 2, 2)
    found = torch.cat(list(inputs.normalised(images, mean, deviation, CPU, 2)))
    assert torch.allclose(found, torch.zeros(5, 3, 2, 2), atol=1e-6)
    white = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    [found] = inputs.normalised(white, mean, deviation, CPU, 2)
    assert found.flatten().tolist() == pytest.approx([1.6, 0.6, 0.2])
