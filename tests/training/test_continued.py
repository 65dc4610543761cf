"""Trainings that continue from trained weights, which contain generators only."""

from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_trainings import (
    BUNDLED,
    CLIP,
    COACH,
    TOKENIZER,
    curve_rows,
    held_out,
    same,
    scenes,
    settings,
    small_dalle,
)

from evalkit.core import EvalkitError
from evalkit.generators import dalle, gan
from evalkit.models.load import load_dalle, load_gan
from evalkit.scenes import dataset
from evalkit.training import presets, train
from evalkit.training.gan import train_gan
from evalkit.training.gan_schedule import Stage, stage
from evalkit.training.image_tokenizer import train_image_tokenizer
from evalkit.training.options import DalleOptions, GanOptions, TokenizerOptions
from evalkit.training.runtime.checkpoints import Checkpoint, save_weights
from evalkit.training.runtime.loop import Settings
from evalkit.training.tokens import tokenize, word_tokenizer

GAN = BUNDLED / "gan.safetensors"
CONTINUED = GanOptions(weights=str(GAN), growing=False, rate=4e-4)


def small_gan(how: Settings, options: GanOptions, size: int = 32) -> None:
    examples = dataset.SceneDataset(0, 16, size), dataset.SceneDataset(dataset.HELD_OUT, 8, size)
    train_gan(how, *examples, options, clip=CLIP, feature_network=COACH, judge=None)


@pytest.fixture
def small_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every preset with few scenes."""
    for model, by_name in presets.PRESETS.items():
        few = {name: replace(preset, scenes=16) for name, preset in by_name.items()}
        monkeypatch.setitem(presets.PRESETS, model, few)
    monkeypatch.setattr("evalkit.training.HELD_OUT", 64)


State = dict[str, dict[str, torch.Tensor]]


def _after_each_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: GanOptions
) -> list[State]:
    """The checkpoints after each of four steps, with their weights."""
    save, states = Checkpoint.save, []

    def kept(self: Checkpoint, step: int) -> None:
        save(self, step)
        weights = {"weights": load_file(folder / "gan.safetensors")}
        states.append(torch.load(folder / "gan.pt", weights_only=True) | weights)

    monkeypatch.setattr(Checkpoint, "save", kept)
    small_gan(settings(folder, "gan", 4, 4, every=1), options)
    return states


def _learned(states: list[State], part: str) -> list[bool]:
    """Whether a part changed from step to step."""
    return [not same(a[part], b[part]) for a, b in pairwise(states)]


@pytest.mark.parametrize(
    ("reconstruction", "learning"),
    [(0.0, ["discriminators"]), (10.0, ["discriminators", "encoder"])],
)
def test_the_generator_is_frozen_during_the_warmup_of_the_discriminators(
    tmp_path: Path, reconstruction: float, learning: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(CONTINUED, discriminator_warmup=0.75, reconstruction=reconstruction)
    states = _after_each_step(tmp_path, monkeypatch, options)
    assert _learned(states, "network") == [False, False, True]
    unchanged = [same(state["weights"], load_file(GAN)) for state in states]
    assert unchanged == [True, True, True, False]
    for part in learning:
        assert _learned(states, part) == [True, True, True]


def test_a_generator_that_learns_before_the_discriminators_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps of generator and encoder, one of encoder and discriminators, then one of all."""
    options = GanOptions(
        discriminator_start=0.5, discriminator_warmup=0.25, growing=False, text_pretraining=0
    )
    states = _after_each_step(tmp_path, monkeypatch, options)
    assert _learned(states, "network") == [True, False, True]
    assert _learned(states, "encoder") == [True, True, True]
    assert _learned(states, "discriminators") == [False, True, True]
    rows = curve_rows(tmp_path / "gan.csv")
    for column in ("discriminator", "generator"):
        assert [bool(row[column]) for row in rows] == [False, False, True, True]
    assert all(float(row["reconstruction"]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 1}, r"another shape: it differs in depth \(2 there, 1 now\)"),
        ({"weights": "nowhere"}, "There are no gan weights at nowhere"),
        (
            {"discriminator_start": 0.6, "reconstruction": 0.0},
            "the first 1 steps would train nothing",
        ),
        (
            {"discriminator_start": 0.5, "discriminator_warmup": 0.5},
            "the generator would never learn from its discriminators",
        ),
        (
            {"discriminator_start": 200.0},
            "discriminator_start is 200.0 .* expected shares of the steps",
        ),
        (
            {"oversample": "pears"},
            "no kind of scene 'pears' to oversample.* single, count, pair, or nothing",
        ),
    ],
)
def test_options_that_a_gan_cannot_continue_with(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(EvalkitError, match=message):
        small_gan(settings(tmp_path, "new", 2, 4), replace(CONTINUED, **options))  # pyright: ignore[reportArgumentType]
    assert not list(tmp_path.glob("new*"))


def test_a_dalle_of_another_shape_is_refused(tmp_path: Path) -> None:
    options = DalleOptions(depth=1, weights=str(BUNDLED / "dalle.safetensors"))
    message = r"another shape: it differs in depth \(6 there, 1 now\)"
    with pytest.raises(EvalkitError, match=message):
        small_dalle(settings(tmp_path, "new", 2, 4), options, judge=None)
    assert not list(tmp_path.glob("new*"))


def test_a_gan_grows_from_a_smaller_size(tmp_path: Path) -> None:
    """It draws as before at the old size; the new size fades in from the enlarged image."""
    options = GanOptions(weights=str(GAN), rate=1e-9, discriminator_start=0.5)
    small_gan(settings(tmp_path, "gan", 6, 4, every=1), options, 64)
    before, after = load_gan(GAN)[0], load_gan(tmp_path / "gan.safetensors")[0]
    assert after.size == 64
    text = after.encode_text(tokenize(["a dog on the grass", "two red circles"], word_tokenizer()))
    noise = after.noise_of([1, 2])
    small = before(text, noise)
    assert torch.allclose(after(text, noise, 32), small, atol=0.02)
    enlarged = torch.nn.functional.interpolate(
        small.clamp(-0.999, 0.999).atanh(), scale_factor=2, mode="bilinear", align_corners=False
    )
    assert torch.allclose(after(text, noise, 64, 0.0), enlarged.tanh(), atol=0.02)
    assert {row["size"] for row in curve_rows(tmp_path / "gan.csv")} == {"64.0000"}
    image = gan.load(weights=str(tmp_path), device="cpu")(["a dog"], [1])[0]
    assert isinstance(image, Image.Image)
    assert image.size == (64, 64)


@pytest.mark.usefixtures("small_presets")
def test_a_gan_that_was_stopped_resumes_growing_from_its_first_size(tmp_path: Path) -> None:
    """At the second start "gan" names the own file, which has the larger size."""
    for steps in (2, 12):
        train(
            "gan",
            out=tmp_path,
            preset="64",
            steps=steps,
            batch=4,
            every=2,
            precision="fp32",
            device="cpu",
            options={"weights": "gan"},
        )
    rows = curve_rows(tmp_path / "gan.csv")
    assert [int(row["step"]) for row in rows] == [2, 4, 6, 8, 10, 12]
    assert {row["size"] for row in rows} == {"64.0000"}


def test_a_gan_grows_only_to_sizes_that_are_new() -> None:
    stages = [stage(step / 1000, 128, 32) for step in range(1000)]
    assert [size for size, _ in groupby(stages, key=lambda now: now.size)] == [64, 128]
    assert stages[0] == Stage(64, 0.0)
    assert stages[399] == Stage(64, 1.0)
    assert stages[400].fade < 0.01


@pytest.mark.parametrize(("size", "growing"), [(16, True), (64, False)])
def test_only_a_smaller_gan_grows_and_only_with_growing(
    tmp_path: Path, size: int, growing: bool
) -> None:
    options = GanOptions(weights=str(GAN), growing=growing)
    message = rf"another shape: it differs in size \(32 there, {size} now\)"
    with pytest.raises(EvalkitError, match=message):
        small_gan(settings(tmp_path, "gan", 1, 4), options, size)


@pytest.mark.parametrize("option", ["weights", "teacher"])
def test_a_dalle_of_another_image_tokenizer_is_refused(tmp_path: Path, option: str) -> None:
    """The same number of codes is not enough."""
    small_dalle(
        settings(tmp_path, "first", 1, 8), DalleOptions(depth=1, text_pretraining=0), judge=None
    )
    first = tmp_path / "first.safetensors"
    header = load_dalle(first)[1] | {"image_tokenizer": "sha256:0123456789abcdef"}
    save_weights(first, load_file(first), header)
    message = r"differs .*in image_tokenizer \(sha256:0123456789abcdef there, sha256:\w+ now\)"
    options = replace(DalleOptions(depth=1), **{option: str(first)})
    with pytest.raises(EvalkitError, match=message):
        small_dalle(settings(tmp_path, "second", 1, 8), options, judge=None)


def test_a_dalle_continues_with_its_weights_and_its_guidance(tmp_path: Path) -> None:
    small_dalle(
        settings(tmp_path, "first", 1, 8), DalleOptions(depth=1, text_pretraining=0), judge=None
    )
    first = tmp_path / "first.safetensors"
    save_weights(first, load_file(first), load_dalle(first)[1] | {"guidance": 1.3})
    options = DalleOptions(depth=1, rate=1e-9, weights=str(first))
    small_dalle(settings(tmp_path, "second", 1, 8), options, judge=None)
    assert load_dalle(tmp_path / "second.safetensors")[1]["guidance"] == 1.3
    before, after = load_file(first), load_file(tmp_path / "second.safetensors")
    assert all(torch.allclose(before[name], after[name], atol=1e-3) for name in before)


def _continue_tokenizer(folder: Path, options: TokenizerOptions) -> None:
    how = settings(folder, "image-tokenizer", 2, 8)
    train_image_tokenizer(how, scenes(16), held_out(8), options, feature_network=COACH)


@pytest.mark.parametrize("perceptual", [0.0, 0.5])
def test_a_decoder_continues_and_the_tokens_keep_their_meaning(
    tmp_path: Path, perceptual: float
) -> None:
    _continue_tokenizer(tmp_path, TokenizerOptions(weights=str(TOKENIZER), perceptual=perceptual))
    before, after = load_file(TOKENIZER), load_file(tmp_path / "image-tokenizer.safetensors")
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}
    (tmp_path / "dalle.safetensors").write_bytes((BUNDLED / "dalle.safetensors").read_bytes())
    generator = dalle.load(weights=str(tmp_path), device="cpu")  # trained for the old decoder
    assert len(generator(["a cat"], [1])) == 1


def test_only_a_decoder_of_the_same_shape_continues(tmp_path: Path) -> None:
    message = r"differs in levels \(\[8, 8, 8, 6\] there, \[5, 5, 5\] now\)"
    with pytest.raises(EvalkitError, match=message):
        _continue_tokenizer(tmp_path, TokenizerOptions(levels="5,5,5", weights=str(TOKENIZER)))


@pytest.mark.usefixtures("small_presets")
@pytest.mark.parametrize(
    ("model", "preset", "file", "options"),
    [
        ("image-tokenizer", "finer", "image-tokenizer-finer.safetensors", {}),
        (
            "gan",
            "32",
            "gan.safetensors",
            {"weights": "gan", "growing": "false", "discriminator_start": "0"},
        ),
    ],
)
def test_trainings_continue_from_the_bundled_weights(
    model: str, preset: str, file: str, options: dict[str, str], tmp_path: Path
) -> None:
    path = train(model, out=tmp_path, preset=preset, steps=1, batch=4, options=options)
    assert path.name == file
    before, after = load_file(BUNDLED / f"{model}.safetensors"), load_file(path)
    assert all(torch.allclose(before[name], after[name], atol=0.05) for name in before)


@pytest.mark.parametrize("kind", ["single", "count", "pair", ""])
def test_scenes_of_the_oversampled_kind_occur_twice(kind: str) -> None:
    examples = scenes()
    rows = examples.epoch_rows(kind).tolist()
    expected = [1 + (scene.kind == kind) for scene in examples.scenes]
    assert [rows.count(row) for row in range(64)] == expected
