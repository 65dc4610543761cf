"""The difference that a classifier sees between two pictures."""

import pytest
import torch
from small_trainings import COACH

from evalkit.models.load import load_classifier
from evalkit.models.mini_inception import to_unit
from evalkit.scenes import dataset
from evalkit.training.perceptual import perceptual_loss

EYES = load_classifier(COACH).eval().requires_grad_(False)
PICTURES = to_unit(dataset.pictures(dataset.scenes(3, 8)))


@torch.no_grad()
def test_it_is_the_mean_distance_of_unit_vectors_at_three_sizes() -> None:
    """Two unit vectors at an angle are 2 - 2 cos apart, squared."""
    expected = torch.zeros(())
    for one, other in zip(EYES.maps(PICTURES), EYES.maps(PICTURES.flip(0)), strict=True):
        expected = expected + (2 - 2 * torch.cosine_similarity(one, other, dim=1)).mean()
    assert float(perceptual_loss(EYES, PICTURES, PICTURES.flip(0))) == pytest.approx(
        float(expected), rel=1e-4
    )
    assert float(perceptual_loss(EYES, PICTURES, PICTURES)) == 0


@torch.no_grad()
def test_it_sees_another_thing_better_than_another_shade() -> None:
    """Pictures with the same error of their pixels: the things of others faintly mixed in, and all
    of it a little darker.
    """
    mixed = torch.lerp(PICTURES, PICTURES.roll(1, 0), 0.3)
    error = (mixed - PICTURES).square().mean((1, 2, 3), keepdim=True).sqrt()
    assert float(perceptual_loss(EYES, mixed, PICTURES)) > float(
        perceptual_loss(EYES, PICTURES - error, PICTURES)
    )


@pytest.mark.parametrize("size", [16, 64])
def test_pictures_of_any_size_are_seen_at_32(size: int) -> None:
    drawn = torch.rand(2, 3, size, size, requires_grad=True)
    perceptual_loss(EYES, drawn, torch.rand(2, 3, size, size)).backward()
    assert drawn.grad is not None
    assert bool(drawn.grad.any())
