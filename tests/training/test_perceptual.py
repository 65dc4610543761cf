"""The perceptual loss: a distance of directions, by known vectors, bounds and our own images."""

from collections.abc import Iterable
from typing import cast

import pytest
import torch
from small_trainings import COACH
from torch import Tensor

from evalkit.models.load import load_classifier
from evalkit.models.mini_inception import MiniInception, to_unit
from evalkit.scenes import dataset
from evalkit.training.perceptual import perceptual_loss

FEATURES = load_classifier(COACH).eval().requires_grad_(False)
IMAGES = to_unit(dataset.render_images(dataset.scenes(3, 8)))


class Colours:
    """A feature network whose only features are the channels of the image, in two maps."""

    def maps(self, images: Tensor) -> Iterable[Tensor]:
        return images, 5 * images


def plain(*channels: float) -> Tensor:
    """An image of one colour: [1, 3, 32, 32]."""
    return torch.tensor(channels).view(1, 3, 1, 1).expand(1, 3, 32, 32)


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ((1.0, 0.0, 0.0), (1.0, 0.0, 0.0), 0.0),
        ((1.0, 0.0, 0.0), (0.2, 0.0, 0.0), 0.0),  # the same direction
        ((1.0, 0.0, 0.0), (0.0, 0.5, 0.0), 2.0),  # a right angle
        ((1.0, 0.0, 0.0), (-0.5, 0.0, 0.0), 4.0),  # the opposite direction
        ((1.0, 0.0, 0.0), (0.6, 0.8, 0.0), 0.8),  # |(0.4, -0.8)|^2
    ],
)
def test_the_distance_of_known_vectors(
    one: tuple[float, ...], other: tuple[float, ...], distance: float
) -> None:
    """The squared distance of unit vectors, added up over the two maps."""
    network = cast(MiniInception, Colours())
    loss = float(perceptual_loss(network, plain(*one), plain(*other)))
    assert loss == pytest.approx(2 * distance, abs=1e-6)


def test_the_distance_is_the_mean_over_images_and_places() -> None:
    """A quarter of the places of one image of two is at a right angle."""
    drawn = plain(1.0, 0.0, 0.0).repeat(2, 1, 1, 1)
    real = drawn.clone()
    real[1, :, :16, :16] = plain(0.0, 1.0, 0.0)[0, :, :16, :16]
    network = cast(MiniInception, Colours())
    assert float(perceptual_loss(network, drawn, real)) == pytest.approx(2 * 2.0 / 8)


@torch.no_grad()
def test_it_is_zero_for_identical_images_symmetric_and_bounded() -> None:
    assert float(perceptual_loss(FEATURES, IMAGES, IMAGES)) == 0
    there = float(perceptual_loss(FEATURES, IMAGES, IMAGES.flip(0)))
    back = float(perceptual_loss(FEATURES, IMAGES.flip(0), IMAGES))
    assert there == pytest.approx(back)
    assert 0 < there < 3 * 4  # three maps, at most the opposite direction in each


@torch.no_grad()
def test_another_object_counts_more_than_another_shade() -> None:
    """With the same pixel error: a faint mixture with other images, and a darker image."""
    mixed = torch.lerp(IMAGES, IMAGES.roll(1, 0), 0.3)
    error = (mixed - IMAGES).square().mean((1, 2, 3), keepdim=True).sqrt()
    object_loss = perceptual_loss(FEATURES, mixed, IMAGES)
    shade_loss = perceptual_loss(FEATURES, IMAGES - error, IMAGES)
    assert float(object_loss) > float(shade_loss)


@pytest.mark.parametrize("size", [16, 64])
def test_images_of_other_sizes_have_gradients(size: int) -> None:
    drawn = torch.rand(2, 3, size, size, requires_grad=True)
    perceptual_loss(FEATURES, drawn, torch.rand(2, 3, size, size)).backward()
    assert drawn.grad is not None
    assert bool(drawn.grad.any())
