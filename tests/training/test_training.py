"""Every training loop runs for a few steps on a handful of scenes, learns, writes what it promises and resumes."""

import csv
from pathlib import Path

import pytest
import torch

from evalkit.core import EvalkitError
from evalkit.models.load import BUNDLED, load_classifier, load_clip, load_dalle, load_gan, load_image_tokenizer
from evalkit.training import train
from evalkit.training.dalle import train_dalle
from evalkit.training.gan import Stage, stage, train_gan
from evalkit.training.image_tokenizer import train_image_tokenizer
from evalkit.training.loop import Curve, schedule
from evalkit.training.mini import train_classifier, train_clip


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_classifier_then_clip(tmp_path: Path) -> None:
    train_classifier(tmp_path / "mini-inception.safetensors", width=8, steps=6, batch=16, scenes=64)
    assert [row["step"] for row in _rows(tmp_path / "mini-inception.csv")] == ["6"]
    load_classifier(tmp_path / "mini-inception.safetensors")
    train_clip(tmp_path / "mini-clip.safetensors", classifier=tmp_path / "mini-inception.safetensors", steps=2, batch=16, scenes=64)
    network, config = load_clip(tmp_path / "mini-clip.safetensors")
    assert config["context"] == 24
    assert torch.allclose(network.texts(torch.ones(2, 24, dtype=torch.int64)).norm(dim=1), torch.ones(2))


def test_image_tokenizer_improves(tmp_path: Path) -> None:
    target = tmp_path / "image-tokenizer.safetensors"
    train_image_tokenizer(target, levels=(5, 5, 5), width=64, steps=2, batch=16, scenes=64)
    [before] = _rows(tmp_path / "image-tokenizer.csv")
    train_image_tokenizer(target, levels=(5, 5, 5), width=64, steps=40, batch=16, scenes=64)
    after = _rows(tmp_path / "image-tokenizer.csv")[-1]
    assert float(after["psnr"]) > float(before["psnr"]) + 1
    assert load_image_tokenizer(target)[0].codes == 125


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge 12 pictures instead of hundreds."""
    from evalkit.training import data

    whole = data.scenes
    monkeypatch.setattr(data, "scenes", lambda first, count: whole(first, min(count, 12) if first >= data.HELD_OUT else count))


@pytest.mark.usefixtures("small")
def test_dalle_learns_by_heart_and_resumes(tmp_path: Path) -> None:
    target = tmp_path / "dalle.safetensors"
    parts = {
        "tokenizer": BUNDLED / "image-tokenizer.safetensors",
        "clip": BUNDLED / "mini-clip.safetensors",
        "judge": BUNDLED / "mini-judge.safetensors",
    }
    train_dalle(target, **parts, depth=1, steps=5, batch=16, scenes=16)
    [first] = _rows(tmp_path / "dalle.csv")
    train_dalle(target, **parts, depth=1, steps=30, batch=16, scenes=16)
    rows = _rows(tmp_path / "dalle.csv")
    assert [row["step"] for row in rows] == ["5", "30"]  # it went on, and did not begin again
    assert float(rows[-1]["loss"]) < float(first["loss"]) - 0.1
    assert load_dalle(target)[1]["steps"] == 30


@pytest.mark.usefixtures("small")
def test_gan_grows_and_resumes(tmp_path: Path) -> None:
    target = tmp_path / "gan.safetensors"
    train_classifier(tmp_path / "coach.safetensors", width=8, steps=1, batch=8, scenes=8)
    parts = {
        "clip": BUNDLED / "mini-clip.safetensors",
        "coach": tmp_path / "coach.safetensors",
        "judge": BUNDLED / "mini-judge.safetensors",
    }
    train_gan(target, **parts, steps=4, batch=8, scenes=16, smoothing=0.1)
    train_gan(target, **parts, steps=6, batch=8, scenes=16)
    assert [(row["step"], row["size"]) for row in _rows(tmp_path / "gan.csv")] == [("4", "32"), ("6", "32")]
    assert load_gan(target)[1]["steps"] == 6


def test_the_gan_grows_in_order_and_fades_in_from_zero() -> None:
    stages = [stage(step / 1000) for step in range(1000)]
    assert stages[0] == Stage(8, 1.0)
    assert [now.size for now in stages] == sorted(now.size for now in stages)
    first_of_16, first_of_32 = (next(now for now in stages if now.size == size) for size in (16, 32))
    assert first_of_16.fade < 0.02
    assert first_of_32.fade < 0.02
    assert stages[-1] == Stage(32, 1.0)


def test_a_loss_that_is_not_finite_stops_with_the_step(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="loss became nan at step 7"):
        Curve(tmp_path / "curve.csv", ("loss",)).log(7, loss=float("nan"))


def test_the_schedule_warms_up_and_decays() -> None:
    rates = [schedule(step, 1000) for step in range(1000)]
    assert rates[0] == 0.01
    assert max(rates) == rates[300] == 1
    assert rates[-1] == 0.02


def test_unknown_model_and_steps(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="no model 'dali'"):
        train("dali", out=tmp_path)
    with pytest.raises(EvalkitError, match="steps is 0"):
        train("gan", out=tmp_path, steps=0)
