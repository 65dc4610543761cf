"""Every training loop runs a few steps on a few scenes, learns, and writes its files."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_trainings import (
    CLIP,
    COACH,
    JUDGE,
    curve_rows,
    held_out,
    scenes,
    settings,
    small_dalle,
)

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
from evalkit.training.classifier import train_classifier
from evalkit.training.clip import train_clip
from evalkit.training.gan import train_gan
from evalkit.training.gan_schedule import Stage, stage
from evalkit.training.image_tokenizer import train_image_tokenizer
from evalkit.training.options import ClassifierOptions, DalleOptions, GanOptions, TokenizerOptions


def test_classifier_then_clip(tmp_path: Path) -> None:
    train_classifier(settings(tmp_path, "mini-inception", 6), scenes(), ClassifierOptions(width=8))
    assert [row["step"] for row in curve_rows(tmp_path / "mini-inception.csv")] == ["6"]
    classifier = tmp_path / "mini-inception.safetensors"
    load_classifier(classifier)
    train_clip(settings(tmp_path, "mini-clip", 2), scenes(), held_out(), classifier=classifier)
    network, config = load_clip(tmp_path / "mini-clip.safetensors")
    assert config["context"] == 24
    lengths = network.texts(torch.ones(2, 24, dtype=torch.int64)).norm(dim=1)
    assert torch.allclose(lengths, torch.ones(2))


def test_the_image_tokenizer_improves(tmp_path: Path) -> None:
    train_image_tokenizer(
        settings(tmp_path, "image-tokenizer", 40, every=20),
        scenes(),
        held_out(8),
        TokenizerOptions(levels="5,5,5", width=64),
        feature_network=COACH,
    )
    rows = curve_rows(tmp_path / "image-tokenizer.csv")
    assert float(rows[-1]["psnr"]) > float(rows[0]["psnr"]) + 1
    assert load_image_tokenizer(tmp_path / "image-tokenizer.safetensors")[0].codes == 125


def test_a_training_leaves_weights_curve_samples_and_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # with its chart
    small_dalle(settings(tmp_path, "dalle", 20, every=10))
    rows = curve_rows(tmp_path / "dalle.csv")
    assert [row["step"] for row in rows] == ["10", "20"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"]) - 0.1
    assert all(
        float(row["images_per_second"]) > 0 and 0.1 < float(row["memory_gb"]) < 64 for row in rows
    )
    assert load_dalle(tmp_path / "dalle.safetensors")[1]["steps"] == 20
    assert {path.name for path in tmp_path.iterdir()} == {
        f"dalle.{kind}" for kind in ("safetensors", "pt", "csv", "png")
    } | {"dalle-samples"}
    with (
        Image.open(tmp_path / "dalle.png") as curve,
        Image.open(tmp_path / "dalle-samples" / "000020.png") as grid,
    ):
        assert curve.width > 500
        assert grid.size == (8 * 34 * 2, 8 * 34 * 2)


def _train_gan(folder: Path, steps: int, options: GanOptions, judge: Path | None) -> None:
    train_classifier(settings(folder, "coach", 1, 8), scenes(), ClassifierOptions(width=8))
    train_gan(
        settings(folder, "gan", steps, 8, every=1),
        scenes(),
        held_out(64 if judge else 8),
        options,
        clip=CLIP,
        feature_network=folder / "coach.safetensors",
        judge=judge,
    )


def test_the_gan_grows(tmp_path: Path) -> None:
    _train_gan(tmp_path, 9, GanOptions(), JUDGE)
    sizes = [float(row["size"]) for row in curve_rows(tmp_path / "gan.csv")]
    assert sizes == [8] * 2 + [16] * 2 + [32] * 5
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
    _train_gan(tmp_path, 2, options, None)
    first = curve_rows(tmp_path / "gan.csv")[0]
    assert float(first["size"]) == (8 if options.growing else 32)
    assert load_gan(tmp_path / "gan.safetensors")[0].noise == options.noise


def test_the_gan_grows_in_order_and_fades_in_from_zero() -> None:
    stages = [stage(step / 1000, 64) for step in range(1000)]
    assert stages[0] == Stage(8, 1.0)
    assert [now.size for now in stages] == sorted(now.size for now in stages)
    for size in (16, 32, 64):
        assert next(now for now in stages if now.size == size).fade < 0.04
    assert stages[-1] == Stage(64, 1.0)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("dali", {}, "no model 'dali'"),
        ("gan", {"steps": 0}, "steps is 0"),
        ("gan", {"preset": "33"}, "gan has no preset '33'"),
        ("gan", {"preset": "student"}, "gan has no preset 'student'"),
        ("gan", {"options": {"smothing": "0.1"}}, "no option 'smothing'"),
        ("dalle", {"precision": "fp8", "steps": 1, "scenes": 16}, "no precision 'fp8'"),
        ("image-tokenizer", {"options": {"levels": "8,x"}}, "levels is '8,x'"),
        ("mini-judge", {"data": "images"}, "mini-judge learns the positions of objects"),
        ("gan", {"data": "images"}, "no mini-clip in"),
        ("mini-coach", {"scenes": 10_000_001}, "scenes is 10000001, expected at most 10000000"),
        ("mini-coach", {"every": 0}, "every is 0, expected at least 1"),
    ],
)
def test_invalid_arguments_are_refused(
    tmp_path: Path, model: str, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(EvalkitError, match=message):
        train(model, out=tmp_path, **arguments)  # pyright: ignore[reportArgumentType]


def test_a_batch_that_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    message = "A batch of 16 cannot be divided among 1 process in 3 parts"
    with pytest.raises(EvalkitError, match=message):
        small_dalle(settings(tmp_path, "dalle", 1, accumulate=3), DalleOptions(depth=1), judge=None)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_trainings_share_no_scenes_with_each_other_or_with_evaluations(
    one: int, other: int
) -> None:
    """Scenes for evaluation are in the billion from HELD_OUT and in that from REFERENCE."""
    first = dataset.first_scene(one)
    before = first + dataset.MOST_SCENES <= dataset.HELD_OUT
    assert before or first >= dataset.REFERENCE + dataset.HELD_OUT
    assert one == other or abs(first - dataset.first_scene(other)) >= dataset.MOST_SCENES


def test_scenes_and_checkpoints_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed: list[tuple[int, int]] = []
    compose = dataset.scenes

    def counted(first: int, count: int) -> list[dataset.Scene]:
        composed.append((first, count))
        return compose(first, count)

    monkeypatch.setattr(dataset, "scenes", counted)
    counts = {"steps": 6, "batch": 4, "scenes": 40, "every": 2}
    train("mini-coach", out=tmp_path, precision="fp32", device="cpu", **counts)
    assert [row["step"] for row in curve_rows(tmp_path / "mini-coach.csv")] == ["2", "4", "6"]
    assert (dataset.first_scene(2), 40) in composed
