"""Variety, copying, and what is named: each measure on pictures of which the answer is known."""

from random import Random

import pytest
import torch
from PIL import Image

from evalkit.core import Refusal
from evalkit.judge.appraisal import another, appraise, detail, judge_prompts, nearest, variety
from evalkit.scenes import dataset
from evalkit.scenes.captions import caption
from evalkit.scenes.compose import compose


def test_the_variety_of_equal_pictures_is_none_and_of_black_and_white_all() -> None:
    black, white = (
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
        torch.full((1, 3, 4, 4), 255, dtype=torch.uint8),
    )
    assert variety([black.expand(3, -1, -1, -1)]) == 0
    assert variety([torch.cat((black, white)), black.expand(2, -1, -1, -1)]) == pytest.approx(
        255 / 2
    )


def test_a_copy_is_at_no_distance() -> None:
    training = torch.randint(0, 256, (50, 3, 4, 4), dtype=torch.uint8)
    assert nearest(training[:5], training.flatten(1)) == pytest.approx(0, abs=0.1)
    assert nearest(255 - training[:5], training.flatten(1)) > 10


def _stripes(cycles: float, contrast: float = 100) -> torch.Tensor:
    wave = 128 + contrast * torch.sin(2 * torch.pi * cycles * torch.arange(32))
    return wave.round().to(torch.uint8).expand(1, 3, 32, 32)


def test_detail_is_what_is_finer_than_four_pixels() -> None:
    fine = detail(_stripes(0.375))
    assert detail(_stripes(0.375).mT) == pytest.approx(fine)  # in both directions
    assert detail(_stripes(0.375, 50)) == pytest.approx(
        fine / 4, rel=0.02
    )  # power: the square of the contrast
    assert detail(_stripes(0.125)) < 0.001 * fine
    assert detail(torch.full((1, 3, 32, 32), 200, dtype=torch.uint8)) == 0


@pytest.mark.parametrize("seed", range(30))
def test_another_scene_has_the_same_caption_and_looks_different(seed: int) -> None:
    scene = compose(seed)
    others = [another(scene, Random(draw)) for draw in range(8)]
    if scene.kind != "single":  # sizes may be told of single things
        assert {caption(other, 5, complete=True) for other in others} == {
            caption(scene, 5, complete=True)
        }
    assert {(item.noun, item.colour) for other in others for item in other.items} == {
        (item.noun, item.colour) for item in scene.items
    }
    assert {other.background for other in others} == {scene.background}
    assert len({(other.style, other.variant, other.items) for other in others}) > 3
    assert dataset.pictures(others).shape == (8, 3, 32, 32)


SCENES = {
    caption(scene, 7, complete=True): scene for scene in (compose(seed) for seed in range(400))
}


def perfect(prompts: list[str], seeds: list[int]) -> list[Image.Image | Refusal]:
    """Draws the scene that a caption was made of."""
    pictures = dataset.pictures([SCENES[prompt] for prompt in prompts])
    return [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in pictures]


def test_things_that_prompts_name_are_found_in_pictures_of_them() -> None:
    prompts = [*list(SCENES)[:100]]
    answers = {
        row.question: row
        for row in judge_prompts(["test_appraisal:perfect"], [*prompts, "nothing that is known"])
    }
    assert answers["first thing"].right > 0.95
    assert answers["all things"].right > 0.9
    assert answers["any thing"].asked == 100
    answers = {row.question: row for row in judge_prompts(["noise"], prompts)}
    assert answers["any thing"].right < 0.1


def test_noise_is_no_copy_and_far_from_everything() -> None:
    rows = {row.property: row for row in appraise(["noise"], count=64)}
    assert rows["nearest"].value > rows["nearest"].real > 0
    assert rows["fid"].value > rows["fid"].real > 1
    assert rows["variety"].real > 20
    assert rows["detail"].value > 2
    assert rows["detail"].real == pytest.approx(1, abs=0.3)
