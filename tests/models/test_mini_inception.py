"""The classifier: detections, and conversions of its input."""

import pytest
import torch

from evalkit.models.mini_inception import (
    MiniInception,
    Predictions,
    detect,
    resize_to_32,
    to_bytes,
    to_unit,
)


def test_detections_are_the_planted_objects_best_first() -> None:
    nouns = torch.zeros(1, 4, 8, 8)
    nouns[:, 3] = 9.0  # no object, nearly everywhere
    nouns[0, :, 2, 3] = torch.tensor([0.0, 12.0, 0.0, 0.0])
    nouns[0, :, 6, 6] = torch.tensor([15.0, 0.0, 0.0, 0.0])
    colours = torch.zeros(1, 2, 8, 8)
    colours[0, 1, 2, 3] = 1.0
    [found] = detect(
        Predictions(torch.zeros(1, 1), torch.zeros(1, 3), nouns, colours, torch.zeros(1, 2))
    )
    assert [(each.noun, each.x, each.y) for each in found] == [(0, 6, 6), (1, 3, 2)]
    assert found[1].colour == 1


def test_shapes() -> None:
    network = MiniInception(nouns=5, colours=4, backgrounds=3, width=8).eval()
    predictions = network(torch.zeros(2, 3, 32, 32))
    assert [tuple(each.shape) for each in predictions] == [
        (2, 64),
        (2, 5),
        (2, 6, 8, 8),
        (2, 4, 8, 8),
        (2, 3),
    ]


def test_bytes_survive_the_conversion_to_floats_and_back() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_bytes(to_unit(images)), images)
    assert to_unit(images).aminmax() == (-1, 1)


@pytest.mark.parametrize("size", [8, 16, 32, 64, 128])
def test_resizing_keeps_constant_images(size: int) -> None:
    images = torch.full((2, 3, size, size), 0.25)
    assert torch.allclose(resize_to_32(images), torch.full((2, 3, 32, 32), 0.25))
