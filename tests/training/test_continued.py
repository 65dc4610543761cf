"""A training that goes on from trained weights, which hold neither critics nor encoder nor the
state of any optimiser.
"""

import csv
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_trainings import BUNDLED, CLIP, COACH, TOKENIZER, held_out, settings, small_dalle, world

from evalkit.core import EvalkitError
from evalkit.generators import dalle, gan
from evalkit.models.load import load_dalle, load_gan
from evalkit.scenes import dataset
from evalkit.training import data, presets, train
from evalkit.training.gan import train_gan
from evalkit.training.gan_schedule import Stage, stage
from evalkit.training.image_tokenizer import train_image_tokenizer
from evalkit.training.options import DalleOptions, GanOptions, TokenizerOptions
from evalkit.training.runtime.checkpoints import Checkpoint, save_weights
from evalkit.training.runtime.loop import Settings

GAN = BUNDLED / "gan.safetensors"
GOING_ON = GanOptions(weights=str(GAN), growing=False, rate=4e-4)


def small_gan(how: Settings, options: GanOptions) -> None:
    train_gan(how, world(16), held_out(), options, clip=CLIP, feature_network=COACH, judge=None)


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


State = dict[str, dict[str, torch.Tensor]]


def _after_each_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: GanOptions
) -> list[State]:
    """What the checkpoints after each of four steps hold, and the weights beside them."""
    save, states = Checkpoint.save, []

    def kept(self: Checkpoint, step: int) -> None:
        save(self, step)
        states.append(
            torch.load(folder / "gan.pt", weights_only=True)
            | {"weights": load_file(folder / "gan.safetensors")}
        )

    monkeypatch.setattr(Checkpoint, "save", kept)
    small_gan(settings(folder, "gan", 4, 4, every=1), options)
    return states


def _learned(states: list[State], part: str) -> list[bool]:
    """Whether a part changed from step to step."""
    return [not _same(a[part], b[part]) for a, b in pairwise(states)]


@pytest.mark.parametrize(
    ("reconstruction", "learners"), [(0.0, ["critics"]), (10.0, ["critics", "encoder"])]
)
def test_the_generator_waits_for_its_critics(
    tmp_path: Path, reconstruction: float, learners: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    states = _after_each_step(
        tmp_path, monkeypatch, replace(GOING_ON, discriminator_warmup=0.75, reconstruction=reconstruction)
    )
    assert _learned(states, "network") == [False, False, True]
    assert [_same(state["weights"], load_file(GAN)) for state in states] == [
        True,
        True,
        True,
        False,
    ]
    for part in learners:
        assert _learned(states, part) == [True, True, True]


def test_a_generator_that_learns_before_there_are_critics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps of the generator and its encoder, one of its critics while it waits, then of all."""
    states = _after_each_step(
        tmp_path, monkeypatch, GanOptions(discriminator_start=0.5, discriminator_warmup=0.25, growing=False, text_pretraining=0)
    )
    assert _learned(states, "network") == [True, False, True]
    assert _learned(states, "encoder") == [True, True, True]
    assert _learned(states, "critics") == [False, True, True]
    with (tmp_path / "gan.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (
        [bool(row["discriminator"]) for row in rows]
        == [bool(row["generator"]) for row in rows]
        == [False, False, True, True]
    )
    assert all(float(row["reconstruction"]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            lambda how: small_gan(how, replace(GOING_ON, depth=1)),
            r"another shape: it differs in depth \(2 there, 1 now\)",
        ),
        (
            lambda how: small_gan(how, replace(GOING_ON, weights="nowhere")),
            "There are no gan weights at nowhere",
        ),
        (
            lambda how: small_gan(how, replace(GOING_ON, discriminator_start=0.6, reconstruction=0.0)),
            "in the first 1 steps nothing would be learned",
        ),
        (
            lambda how: small_gan(how, replace(GOING_ON, discriminator_start=0.5, discriminator_warmup=0.5)),
            "the generator would never hear its critics",
        ),
        (
            lambda how: small_gan(how, replace(GOING_ON, discriminator_start=200.0)),
            "critics is 200.0 .* expected shares of the steps",
        ),
        (
            lambda how: small_gan(how, replace(GOING_ON, oversample="pears")),
            "no scenes of the kind 'pears' .* single, count, pair, or nothing",
        ),
        (
            lambda how: small_dalle(
                how, DalleOptions(depth=1, weights=str(BUNDLED / "dalle.safetensors")), judge=None
            ),
            r"another shape: it differs in depth \(6 there, 1 now\)",
        ),
    ],
)
def test_what_cannot_be_gone_on_from(
    tmp_path: Path, train: Callable[[Settings], None], message: str
) -> None:
    with pytest.raises(EvalkitError, match=message):
        train(settings(tmp_path, "new", 2, 4))
    assert not list(tmp_path.glob("new*"))


def grow(how: Settings, options: GanOptions, size: int) -> None:
    examples = (dataset.SceneDataset(0, 16, size), dataset.SceneDataset(dataset.HELD_OUT, 64, size))
    train_gan(how, *examples, options, clip=CLIP, feature_network=COACH, judge=None)


def test_a_gan_grows_on_from_a_smaller_size(tmp_path: Path) -> None:
    """What it was draws at its own size as before, and its pictures enlarged are where the next
    size begins to fade in.
    """
    grow(
        settings(tmp_path, "gan", 6, 4, every=1),
        GanOptions(weights=str(GAN), rate=1e-9, discriminator_start=0.5),
        64,
    )
    before, after = load_gan(GAN)[0], load_gan(tmp_path / "gan.safetensors")[0]
    assert after.size == 64
    told = after.encode_text(
        tokenize(["a dog on the grass", "two red circles"], word_tokenizer())
    )
    noise = after.noise_of([1, 2])
    small = before(told, noise)
    assert torch.allclose(after(told, noise, 32), small, atol=0.02)
    enlarged = torch.nn.functional.interpolate(
        small.clamp(-0.999, 0.999).atanh(), scale_factor=2, mode="bilinear", align_corners=False
    )
    assert torch.allclose(after(told, noise, 64, 0.0), enlarged.tanh(), atol=0.02)
    with (tmp_path / "gan.csv").open(newline="") as file:
        assert {row["size"] for row in csv.DictReader(file)} == {"64.0000"}
    picture = gan.load(weights=str(tmp_path), device="cpu")(["a dog"], [1])[0]
    assert isinstance(picture, Image.Image)
    assert picture.size == (64, 64)


def test_a_gan_that_grew_and_was_stopped_goes_on_growing_from_where_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its second start "gan" names its own file, which is of the larger size."""
    monkeypatch.setitem(
        presets.PRESETS["gan"], "64", replace(presets.PRESETS["gan"]["64"], scenes=16)
    )
    monkeypatch.setattr("evalkit.training.HELD_OUT", 64)
    for steps in (2, 12):
        train(
            "gan",
            out=tmp_path,
            preset="64",
            steps=steps,
            batch=4,
            every=1,
            precision="fp32",
            device="cpu",
            options={"weights": "gan"},
        )
    with (tmp_path / "gan.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 13))
    assert {row["size"] for row in rows} == {"64.0000"}


def test_a_gan_grows_from_what_it_knows() -> None:
    stages = [stage(step / 1000, 128, 32) for step in range(1000)]
    assert [size for size, _ in groupby(stages, key=lambda now: now.size)] == [64, 128]
    assert stages[0] == Stage(64, 0.0)
    assert stages[399] == Stage(64, 1.0)
    assert stages[400].fade < 0.01


@pytest.mark.parametrize(("size", "growing"), [(16, True), (64, False)])
def test_only_a_smaller_gan_grows_and_only_where_it_may(
    tmp_path: Path, size: int, growing: bool
) -> None:
    with pytest.raises(
        EvalkitError, match=rf"another shape: it differs in size \(32 there, {size} now\)"
    ):
        grow(settings(tmp_path, "gan", 1, 4), GanOptions(weights=str(GAN), growing=growing), size)


@pytest.mark.parametrize("option", ["weights", "teacher"])
def test_codes_of_another_image_tokenizer_mean_other_pictures(tmp_path: Path, option: str) -> None:
    """As many codes do not make them the same."""
    small_dalle(settings(tmp_path, "first", 1, 8), DalleOptions(depth=1, text_pretraining=0), judge=None)
    first = tmp_path / "first.safetensors"
    save_weights(
        first,
        load_file(first),
        load_dalle(first)[1] | {"image_tokenizer": "sha256:0123456789abcdef"},
    )
    with pytest.raises(
        EvalkitError,
        match=r"differs .*in image_tokenizer \(sha256:0123456789abcdef there, sha256:\w+ now\)",
    ):
        small_dalle(
            settings(tmp_path, "second", 1, 8),
            replace(DalleOptions(depth=1), **{option: str(first)}),
            judge=None,
        )


def test_a_dalle_goes_on_from_what_it_was(tmp_path: Path) -> None:
    """It begins with the weights and needs the guidance that they needed."""
    small_dalle(settings(tmp_path, "first", 1, 8), DalleOptions(depth=1, text_pretraining=0), judge=None)
    first = tmp_path / "first.safetensors"
    config = load_dalle(first)[1]
    save_weights(first, load_file(first), config | {"guidance": 1.3})
    small_dalle(
        settings(tmp_path, "second", 1, 8),
        DalleOptions(depth=1, rate=1e-9, weights=str(first)),
        judge=None,
    )
    assert load_dalle(tmp_path / "second.safetensors")[1]["guidance"] == 1.3
    before, after = load_file(first), load_file(tmp_path / "second.safetensors")
    assert all(torch.allclose(before[name], after[name], atol=1e-3) for name in before)


@pytest.mark.parametrize("perceptual", [0.0, 0.5])
def test_a_decoder_goes_on_and_the_tokens_keep_their_meaning(
    tmp_path: Path, perceptual: float
) -> None:
    options = TokenizerOptions(weights=str(TOKENIZER), perceptual=perceptual)
    train_image_tokenizer(
        settings(tmp_path, "image-tokenizer", 2, 8), world(16), held_out(), options, feature_network=COACH
    )
    before, after = load_file(TOKENIZER), load_file(tmp_path / "image-tokenizer.safetensors")
    assert all(
        torch.equal(before[name], after[name]) for name in before if name.startswith("encoder.")
    )
    assert any(
        not torch.equal(before[name], after[name]) for name in before if name.startswith("decoder.")
    )
    (tmp_path / "dalle.safetensors").write_bytes((BUNDLED / "dalle.safetensors").read_bytes())
    assert (
        len(dalle.load(weights=str(tmp_path), device="cpu")(["a cat"], [1])) == 1
    )  # which wrote for the decoder as it was


def test_only_a_decoder_of_the_same_shape_goes_on(tmp_path: Path) -> None:
    options = TokenizerOptions(levels="5,5,5", weights=str(TOKENIZER))
    with pytest.raises(
        EvalkitError, match=r"differs in levels \(\[8, 8, 8, 6\] there, \[5, 5, 5\] now\)"
    ):
        train_image_tokenizer(
            settings(tmp_path, "image-tokenizer", 2, 8), world(16), held_out(), options, feature_network=COACH
        )


@pytest.mark.parametrize(
    ("model", "preset", "file", "options"),
    [
        ("image-tokenizer", "finer", "image-tokenizer-finer.safetensors", {}),
        ("gan", "32", "gan.safetensors", {"weights": "gan", "growing": "false", "critics": "0"}),
    ],
)
def test_trainings_go_on_from_the_bundled_weights(
    model: str,
    preset: str,
    file: str,
    options: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        presets.PRESETS[model], preset, replace(presets.PRESETS[model][preset], scenes=16)
    )
    monkeypatch.setattr("evalkit.training.HELD_OUT", 64)
    path = train(model, out=tmp_path, preset=preset, steps=1, batch=4, options=options)
    assert path.name == file
    before, after = load_file(BUNDLED / f"{model}.safetensors"), load_file(path)
    assert all(torch.allclose(before[name], after[name], atol=0.05) for name in before)


@pytest.mark.parametrize("often", ["single", "count", "pair", ""])
def test_scenes_of_one_kind_come_twice(often: str) -> None:
    some = dataset.SceneDataset(0, 64)
    lots = some.lots(often).tolist()
    assert [lots.count(row) for row in range(64)] == [
        1 + (scene.kind == often) for scene in some.scenes
    ]
