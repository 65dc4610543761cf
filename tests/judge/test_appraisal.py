"""Variety, copying and detail: each measure on images with a known answer."""

from random import Random

import pytest
import torch

from evalkit.judge.appraisal import appraise, detail, nearest, same_caption, variety
from evalkit.scenes import dataset
from evalkit.scenes.captions import caption
from evalkit.scenes.compose import compose


def test_equal_images_have_no_variety_and_black_and_white_the_most() -> None:
    black, white = (
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
        torch.full((1, 3, 4, 4), 255, dtype=torch.uint8),
    )
    assert variety([black.expand(3, -1, -1, -1)]) == 0
    assert variety([torch.cat((black, white)), black.expand(2, -1, -1, -1)]) == pytest.approx(
        255 / 2
    )


def test_a_copy_has_distance_zero() -> None:
    training = torch.randint(0, 256, (50, 3, 4, 4), dtype=torch.uint8)
    assert nearest(training[:5], training.flatten(1)) == pytest.approx(0, abs=0.1)
    assert nearest(255 - training[:5], training.flatten(1)) > 10


def _stripes(cycles: float, contrast: float = 100) -> torch.Tensor:
    wave = 128 + contrast * torch.sin(2 * torch.pi * cycles * torch.arange(32))
    return wave.round().to(torch.uint8).expand(1, 3, 32, 32)


def test_detail_is_the_power_of_waves_shorter_than_four_pixels() -> None:
    fine = detail(_stripes(0.375))
    assert detail(_stripes(0.375).mT) == pytest.approx(fine)  # in both directions
    assert detail(_stripes(0.375, 50)) == pytest.approx(
        fine / 4, rel=0.02
    )  # power is the square of the contrast
    assert detail(_stripes(0.125)) < 0.001 * fine
    assert detail(torch.full((1, 3, 32, 32), 200, dtype=torch.uint8)) == 0


@pytest.mark.parametrize("seed", range(30))
def test_a_scene_of_the_same_caption_looks_different(seed: int) -> None:
    scene = compose(seed)
    others = [same_caption(scene, Random(draw)) for draw in range(8)]
    if scene.kind != "single":  # captions of single objects may state the size
        assert {caption(other, 5, complete=True) for other in others} == {
            caption(scene, 5, complete=True)
        }
    assert {(item.noun, item.colour) for other in others for item in other.items} == {
        (item.noun, item.colour) for item in scene.items
    }
    assert {other.background for other in others} == {scene.background}
    assert len({(other.style, other.variant, other.items) for other in others}) > 3
    assert dataset.render_images(others).shape == (8, 3, 32, 32)


def test_noise_is_not_a_copy_and_far_from_real_scenes() -> None:
    rows = {row.property: row for row in appraise(["noise"], count=64)}
    assert rows["nearest"].value > rows["nearest"].real > 0
    assert rows["fid"].value > rows["fid"].real > 1
    assert rows["variety"].real > 20
    assert rows["detail"].value > 2
    assert rows["detail"].real == pytest.approx(1, abs=0.3)
