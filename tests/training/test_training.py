"""Every training loop runs for a few steps on a handful of scenes, learns, and writes what it
promises.
"""

import csv
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_trainings import CLIP, COACH, JUDGE, held_out, settings, small_dalle, world

from evalkit.core import EvalkitError
from evalkit.models.load import (
    load_classifier,
    load_clip,
    load_dalle,
    load_gan,
    load_image_tokenizer,
)
from evalkit.scenes import dataset
from evalkit.training import train
from evalkit.training.gan import train_gan
from evalkit.training.gan_schedule import Stage, stage
from evalkit.training.image_tokenizer import train_image_tokenizer
from evalkit.training.classifier import train_classifier
from evalkit.training.clip import train_clip
from evalkit.training.options import ClassifierOptions, DalleOptions, GanOptions, TokenizerOptions
from evalkit.training.runtime.curve import Curve
from evalkit.training.runtime.loop import batch_of, generator_of, random_of, schedule


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_classifier_then_clip(tmp_path: Path) -> None:
    train_classifier(settings(tmp_path, "mini-inception", 6), world(), ClassifierOptions(width=8))
    assert [row["step"] for row in _rows(tmp_path / "mini-inception.csv")] == ["6"]
    classifier = tmp_path / "mini-inception.safetensors"
    load_classifier(classifier)
    train_clip(settings(tmp_path, "mini-clip", 2), world(), held_out(), classifier=classifier)
    network, config = load_clip(tmp_path / "mini-clip.safetensors")
    assert config["context"] == 24
    assert torch.allclose(
        network.texts(torch.ones(2, 24, dtype=torch.int64)).norm(dim=1), torch.ones(2)
    )


def test_the_image_tokenizer_improves(tmp_path: Path) -> None:
    options = TokenizerOptions(levels="5,5,5", width=64)
    train_image_tokenizer(
        settings(tmp_path, "image-tokenizer", 40, every=2),
        world(),
        held_out(),
        options,
        feature_network=COACH,
    )
    rows = _rows(tmp_path / "image-tokenizer.csv")
    assert float(rows[-1]["psnr"]) > float(rows[0]["psnr"]) + 1
    assert load_image_tokenizer(tmp_path / "image-tokenizer.safetensors")[0].codes == 125


def test_a_training_leaves_weights_curve_samples_and_checkpoint(tmp_path: Path) -> None:
    small_dalle(settings(tmp_path, "dalle", 30, every=10))
    rows = _rows(tmp_path / "dalle.csv")
    assert [row["step"] for row in rows] == ["10", "20", "30"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"]) - 0.1
    assert all(
        float(row["images_per_second"]) > 0 and 0.1 < float(row["memory_gb"]) < 64 for row in rows
    )
    assert load_dalle(tmp_path / "dalle.safetensors")[1]["steps"] == 30
    assert {path.name for path in tmp_path.iterdir()} == {
        f"dalle.{kind}" for kind in ("safetensors", "pt", "csv", "png")
    } | {"dalle-samples"}
    with (
        Image.open(tmp_path / "dalle.png") as curve,
        Image.open(tmp_path / "dalle-samples" / "000030.png") as grid,
    ):
        assert curve.width > 500
        assert grid.size == (8 * 34 * 2, 8 * 34 * 2)


def test_the_gan_grows(tmp_path: Path) -> None:
    train_classifier(settings(tmp_path, "coach", 1, 8), world(), ClassifierOptions(width=8))
    parts = {"clip": CLIP, "feature_network": tmp_path / "coach.safetensors", "judge": JUDGE}
    train_gan(settings(tmp_path, "gan", 9, 8, every=1), world(), held_out(), GanOptions(), **parts)
    assert [row["size"] for row in _rows(tmp_path / "gan.csv")] == ["8.0000"] * 2 + [
        "16.0000"
    ] * 2 + ["32.0000"] * 5
    assert load_gan(tmp_path / "gan.safetensors")[1]["steps"] == 9


@pytest.mark.parametrize(
    "options",
    [
        GanOptions(loss="non-saturating", smoothing=0.1, gradient_penalty=1.0),
        GanOptions(
            spectral=False,
            matching=False,
            growing=False,
            feature_discriminator=False,
            reconstruction=0.0,
            text_pretraining=0,
            noise=16,
        ),
    ],
    ids=["all on", "all off"],
)
def test_techniques_of_the_gan_are_options(tmp_path: Path, options: GanOptions) -> None:
    train_classifier(settings(tmp_path, "coach", 1, 8), world(), ClassifierOptions(width=8))
    parts = {"clip": CLIP, "feature_network": tmp_path / "coach.safetensors", "judge": None}
    train_gan(settings(tmp_path, "gan", 2, 8, every=1), world(), held_out(), options, **parts)
    first = _rows(tmp_path / "gan.csv")[0]
    assert first["size"] == ("8.0000" if options.growing else "32.0000")
    assert load_gan(tmp_path / "gan.safetensors")[0].noise == options.noise


def test_the_gan_grows_in_order_and_fades_in_from_zero() -> None:
    stages = [stage(step / 1000, 64) for step in range(1000)]
    assert stages[0] == Stage(8, 1.0)
    assert [now.size for now in stages] == sorted(now.size for now in stages)
    for size in (16, 32, 64):
        assert next(now for now in stages if now.size == size).fade < 0.04
    assert stages[-1] == Stage(64, 1.0)


def test_the_schedule_warms_up_and_decays() -> None:
    rates = [schedule(step, 1000) for step in range(1000)]
    assert rates[0] == 0.01
    assert max(rates) == rates[300] == 1
    assert rates[-1] == 0.02


def test_the_throughput_leaves_evaluations_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("evalkit.training.runtime.curve.time.monotonic", lambda: now[0])
    curve = Curve(tmp_path / "dalle.safetensors", ("loss",), images=32)
    for step, training, looking in ((10, 4.0, 100.0), (20, 8.0, 50.0)):
        now[0] += training
        curve.stop_clock(step)
        now[0] += looking
        curve.log(step, loss=1.0)
        curve.resume_clock()
    assert [
        (row["images_per_second"], row["seconds"]) for row in _rows(tmp_path / "dalle.csv")
    ] == [("80.0", "104.0"), ("40.0", "162.0")]


def test_every_epoch_is_a_shuffle_of_all_rows() -> None:
    lots = torch.arange(10) * 7
    epochs = torch.cat([batch_of(step, lots, 4, seed=3) for step in range(5)]).view(
        2, 10
    )  # the third batch reaches over the end
    for epoch in epochs:
        assert sorted(epoch.tolist()) == lots.tolist()
    assert epochs[0].tolist() != epochs[1].tolist()
    assert torch.equal(batch_of(3, lots, 4, seed=3), batch_of(3, lots, 4, seed=3))
    assert not torch.equal(batch_of(0, lots, 10, seed=3), batch_of(0, lots, 10, seed=4))


def test_random_numbers_depend_on_seed_step_and_place() -> None:
    draws = {
        random_of(seed, step, place).random()
        for seed in range(3)
        for step in range(3)
        for place in range(3)
    }
    assert len(draws) == 27
    assert random_of(1, 2, 0).random() == random_of(1, 2, 0).random()
    assert torch.rand(1, generator=generator_of(1, 2)) == torch.rand(
        1, generator=generator_of(1, 2)
    )


def test_what_cannot_be_trained_is_one_sentence(tmp_path: Path) -> None:
    for model, others, message in (
        ("dali", {}, "no model 'dali'"),
        ("gan", {"steps": 0}, "steps is 0"),
        ("gan", {"preset": "33"}, "gan has no preset '33'"),
        ("gan", {"preset": "student"}, "gan has no preset 'student'"),
        ("gan", {"options": {"smothing": "0.1"}}, "no option 'smothing'"),
        ("dalle", {"precision": "fp8", "steps": 1}, "no precision 'fp8'"),
        ("image-tokenizer", {"options": {"levels": "8,x"}}, "levels is '8,x'"),
        ("mini-judge", {"data": tmp_path}, "mini-judge learns what is where"),
        ("gan", {"data": tmp_path}, "no mini-clip in"),
    ):
        with pytest.raises(EvalkitError, match=message):
            train(model, out=tmp_path, **others)  # pyright: ignore[reportArgumentType]
    with pytest.raises(
        EvalkitError, match="A batch of 16 cannot be shared among 1 processes in 3 parts"
    ):
        small_dalle(settings(tmp_path, "dalle", 1, accumulate=3), DalleOptions(depth=1), judge=None)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_no_training_shares_scenes_with_another_or_with_what_is_held_out(
    one: int, other: int
) -> None:
    """Scenes that are only looked at lie in the billion from HELD_OUT and in those from REFERENCE."""
    first = dataset.first_scene(one)
    assert (
        first + dataset.MOST_SCENES <= dataset.HELD_OUT
        or first >= dataset.REFERENCE + dataset.HELD_OUT
    )
    assert one == other or abs(first - dataset.first_scene(other)) >= dataset.MOST_SCENES


def test_scenes_and_checkpoints_are_counted_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed: list[tuple[int, int]] = []
    monkeypatch.setattr(
        dataset,
        "scenes",
        lambda first, count, scenes=dataset.scenes: (
            composed.append((first, count)) or scenes(first, count)
        ),
    )
    train(
        "mini-coach",
        out=tmp_path,
        steps=6,
        batch=4,
        scenes=40,
        every=2,
        precision="fp32",
        device="cpu",
    )
    assert [row["step"] for row in _rows(tmp_path / "mini-coach.csv")] == ["2", "4", "6"]
    assert (dataset.first_scene(2), 40) in composed
    with pytest.raises(EvalkitError, match="scenes is 10000001, expected at most 10000000"):
        train("mini-coach", out=tmp_path, scenes=10_000_001)
    with pytest.raises(EvalkitError, match="every is 0, expected at least 1"):
        train("mini-coach", out=tmp_path, every=0)
