import torch

from evalkit.judge.verdicts import judge_scenes, verdict_of
from evalkit.models.load import BUNDLED, load_classifier
from evalkit.models.mini_inception import Detection
from evalkit.scenes import dataset
from evalkit.scenes.compose import Item, Scene


def test_the_judge_knows_real_scenes_and_sees_mismatches() -> None:
    judge = load_classifier(BUNDLED / "mini-judge.safetensors").eval()
    some = dataset.scenes(dataset.HELD_OUT + 50_000, 120)
    pictures = dataset.pictures(some)
    right = judge_scenes(judge, pictures, some)
    assert right["everything"] > 0.95
    assert right["background"] > 0.97
    wrong = judge_scenes(judge, pictures.roll(1, 0), some)
    assert wrong["noun"] < 0.1
    assert judge_scenes(judge, torch.zeros_like(pictures), some)["everything"] == 0


def _thing(noun: str, x: int, y: int, score: float = 0.9, colour: str = "red") -> Detection:
    return Detection(dataset.NOUNS.index(noun), dataset.COLOUR_NAMES.index(colour), x, y, score)


def test_verdicts() -> None:
    pair = Scene(
        "pair",
        (Item("cat", "", 0, 8, 32), Item("circle", "red", 32, 8, 32)),
        "left",
        "grass",
        "flat",
        0,
    )
    assert verdict_of(pair, [_thing("cat", 2, 3), _thing("circle", 6, 3)]) == {
        "noun": True,
        "count": True,
        "colour": True,
        "relation": True,
    }
    assert verdict_of(pair, [_thing("cat", 6, 3), _thing("circle", 2, 3, colour="blue")]) == {
        "noun": True,
        "count": True,
        "colour": False,
        "relation": False,
    }
    assert verdict_of(pair, [_thing("cat", 2, 3)]) == {
        "noun": False,
        "count": False,
        "colour": False,
        "relation": False,
    }
    two = Scene(
        "count", (Item("dog", "", 0, 8, 32), Item("dog", "", 32, 8, 32)), "", "grass", "flat", 0
    )
    assert verdict_of(two, [_thing("dog", 2, 3)]) == {"noun": True, "count": False}
    assert verdict_of(two, []) == {"noun": False, "count": False}
