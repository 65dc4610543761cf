"""Verdicts on known images and on hand-made detections."""

import pytest
import torch

from evalkit.models.load import BUNDLED, load_classifier
from evalkit.models.mini_inception import Detection
from evalkit.scenes import dataset
from evalkit.scenes.compose import Item, Scene
from evalkit.scorers.verdicts import judge_scenes, verdict_of


def test_real_scenes_are_right_and_those_of_other_prompts_wrong() -> None:
    judge = load_classifier(BUNDLED / "mini-judge.safetensors").eval()
    scenes = dataset.scenes(dataset.HELD_OUT + 50_000, 120)
    images = dataset.render_images(scenes)
    shares = judge_scenes(judge, images, scenes)
    assert shares["everything"] > 0.95
    assert shares["background"] > 0.97
    assert judge_scenes(judge, images.roll(1, 0), scenes)["noun"] < 0.1
    assert judge_scenes(judge, torch.zeros_like(images), scenes)["everything"] == 0


def _seen(noun: str, x: int, y: int, colour: str = "red") -> Detection:
    return Detection(dataset.NOUNS.index(noun), dataset.COLOUR_NAMES.index(colour), x, y, 0.9)


CAT, CIRCLE = Item("cat", "", 0, 8, 32), Item("circle", "red", 32, 8, 32)
PAIR = Scene("pair", (CAT, CIRCLE), "left", "grass", "flat", 0)
DOGS = (Item("dog", "", 0, 8, 32), Item("dog", "", 32, 8, 32))
TWO = Scene("count", DOGS, "", "grass", "flat", 0)


@pytest.mark.parametrize(
    ("scene", "detections", "wrong"),
    [
        (PAIR, [_seen("cat", 2, 3), _seen("circle", 6, 3)], set[str]()),
        (PAIR, [_seen("cat", 6, 3), _seen("circle", 2, 3, "blue")], {"colour", "relation"}),
        (PAIR, [_seen("cat", 2, 6), _seen("circle", 2, 1)], {"relation"}),
        (PAIR, [_seen("cat", 2, 3), _seen("circle", 6, 3), _seen("dog", 0, 0)], {"count"}),
        (PAIR, [_seen("cat", 2, 3)], {"noun", "count", "colour", "relation"}),
        (TWO, [_seen("dog", 2, 3), _seen("dog", 6, 3)], set[str]()),
        (TWO, [_seen("dog", 2, 3)], {"count"}),
        (TWO, [], {"noun", "count"}),
    ],
)
def test_verdicts(scene: Scene, detections: list[Detection], wrong: set[str]) -> None:
    questions = {"noun", "count", "colour", "relation"} if scene is PAIR else {"noun", "count"}
    verdict = verdict_of(scene, detections)
    assert verdict == {question: question not in wrong for question in questions}
