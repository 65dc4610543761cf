"""Text encoders learn underspecified captions by self-distillation; nothing else changes."""

from pathlib import Path
from random import Random
from typing import cast

import pytest
import torch
from safetensors.torch import load_file
from small_trainings import (
    BUNDLED,
    CLIP,
    JUDGE,
    TOKENIZER,
    held_out,
    same_weights,
    scenes,
    settings,
)

from evalkit.core import EvalkitError
from evalkit.models.dalle import Dalle
from evalkit.models.gan import Gan
from evalkit.models.load import load_dalle, load_gan
from evalkit.models.text import TextTower
from evalkit.scenes import dataset
from evalkit.scenes.compose import Scene
from evalkit.scenes.underspecified import UnderspecifiedCaption, underspecified_caption
from evalkit.training.dalle import text_tower
from evalkit.training.options import DalleOptions, GanOptions
from evalkit.training.runtime.checkpoints import save_weights
from evalkit.training.runtime.loop import Settings
from evalkit.training.students import DalleStudent, GanStudent, Student
from evalkit.training.tokens import subword_tokenizer, word_tokenizer
from evalkit.training.underspecified import train_underspecified, training_caption

WORDS, SUBWORDS = word_tokenizer(), subword_tokenizer()
TEXT_ENCODERS = {"gan": ("text.",), "dalle": ("text.", "order.")}


def _student(path: Path) -> Student:
    if "gan" in path.name:
        return GanStudent(path, "cpu")
    return DalleStudent(path, TOKENIZER, held_out(), "cpu")


@pytest.fixture(scope="module", params=["gan", "dalle"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator with random weights, in which every word of a text has an influence."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("underspecified") / f"{request.param}.safetensors"
    if request.param == "gan":
        network = Gan(TextTower(len(WORDS), WORDS.context, 32, 1, ordered=True), noise=8)
        config = {
            "kind": "gan", "pieces": list(WORDS.pieces), "context": WORDS.context, "width": 32,
            "depth": 1, "size": 32, "noise": 8, "seed": 0,
            "widths": [(4, 128), (8, 128), (16, 64), (32, 32)],
        }  # fmt: skip
    else:
        network = Dalle(text_tower(CLIP, SUBWORDS), codes=3072, depth=2)
        zeros = ("condition.weight", "project.weight", "contract.weight")  # at initialisation
        for name, weight in network.named_parameters():
            if name.endswith(zeros):
                torch.nn.init.normal_(weight, std=0.05)
        config = {
            "kind": "dalle", "pieces": list(SUBWORDS.pieces), "context": SUBWORDS.context,
            "codes": 3072, "side": 8, "width": 128, "depth": 2, "heads": 4,
        }  # fmt: skip
    save_weights(path, network.state_dict(), config)
    return path


def small(how: Settings, path: Path, rate: float = 1e-3, count: int = 64) -> None:
    options = (
        GanOptions(underspecified=str(path), rate=rate, average=0.9)
        if "gan" in path.name
        else DalleOptions(underspecified=str(path), rate=rate)
    )
    train_underspecified(how, scenes(count), held_out(), options, tokenizer=TOKENIZER, judge=JUDGE)


@torch.no_grad()
def _losses(before: Path, after: Path) -> list[float]:
    """The distillation losses before and after the training, on captions that were not in it."""
    student = _student(before)
    captions = [
        underspecified_caption(scene, Random(place))
        for place, scene in enumerate(held_out().scenes)
    ]
    losses: list[float] = []
    for file in (before, after):
        weights = {name: value.float() for name, value in load_file(file).items()}
        student.network.load_state_dict(weights)
        randoms = [Random(place) for place in range(64)]
        losses.append(float(student.distillation_loss(captions, range(64), randoms)))
    return losses


def test_only_the_text_encoder_learns_and_its_loss_falls(tmp_path: Path, path: Path) -> None:
    how = settings(tmp_path, f"{path.stem}-underspecified", 40, 16)
    small(how, path, rate=3e-3)
    before, after = load_file(path), load_file(how.out)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(TEXT_ENCODERS[path.stem]) for name in changed)
    losses = _losses(path, how.out)
    assert losses[1] < 0.85 * losses[0]


@pytest.mark.parametrize(("text", "least", "most"), [("two sheep", 0, 1e-9), ("a dog", 1e-3, 10)])
def test_a_text_that_is_its_own_meaning_has_no_loss(
    path: Path, text: str, least: float, most: float
) -> None:
    with torch.no_grad():
        loss = _student(path).distillation_loss(
            [UnderspecifiedCaption(text, "two sheep")], [0], [Random(0)]
        )
    assert least <= float(loss) <= most


def test_a_killed_training_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def killed(scene: Scene, random: Random) -> UnderspecifiedCaption:
        calls.append(1)
        if len(calls) > 4 * 3:
            raise KeyboardInterrupt
        return training_caption(scene, random)

    whole, parts = (
        settings(tmp_path / name, "gan-underspecified", 4, 4, every=2)
        for name in ("whole", "parts")
    )
    gan = BUNDLED / "gan.safetensors"
    small(whole, gan, count=16)
    with monkeypatch.context() as patch:
        patch.setattr("evalkit.training.underspecified.training_caption", killed)
        with pytest.raises(KeyboardInterrupt):
            small(parts, gan, count=16)
    assert not same_weights(whole.out, parts.out)
    small(parts, gan, count=16)
    assert same_weights(whole.out, parts.out)


def test_training_captions_are_underspecified_or_full_or_empty() -> None:
    some = dataset.scenes(0, 400)
    captions = [training_caption(scene, Random(place)) for place, scene in enumerate(some)]
    assert captions == [training_caption(scene, Random(place)) for place, scene in enumerate(some)]
    assert 2 <= captions.count(UnderspecifiedCaption("", "")) <= 30
    different = sum(caption.text != caption.meaning for caption in captions)
    assert 0.5 < different / len(captions) < 0.9


def test_a_generator_with_other_words_is_refused(tmp_path: Path) -> None:
    network, config = load_gan(BUNDLED / "gan.safetensors")
    other = tmp_path / "gan.safetensors"
    pieces = [f"word{place}" for place in range(len(WORDS.pieces))]
    save_weights(other, network.state_dict(), config | {"pieces": pieces})
    with pytest.raises(EvalkitError, match="lacks words of the bundled data set"):
        small(settings(tmp_path, "new", 1, 8), other)
    assert not list(tmp_path.glob("new*"))


@pytest.mark.parametrize("kind", ["gan", "dalle"])
def test_missing_weights_are_named(tmp_path: Path, kind: str) -> None:
    with pytest.raises(EvalkitError, match=f"There are no {kind} weights at"):
        small(settings(tmp_path, "new", 1, 8), tmp_path / "nowhere" / f"{kind}.safetensors")


def test_a_dalle_of_another_image_tokenizer_is_refused(tmp_path: Path) -> None:
    network, config = load_dalle(BUNDLED / "dalle.safetensors")
    header = config | {"image_tokenizer": "sha256:0123456789abcdef"}
    save_weights(tmp_path / "dalle.safetensors", network.state_dict(), header)
    message = (
        r"other image tokens than .* differs in image_tokenizer \(sha256:0123456789abcdef there"
    )
    with pytest.raises(EvalkitError, match=message):
        small(settings(tmp_path, "new", 1, 8), tmp_path / "dalle.safetensors")


def test_images_of_users_are_refused(tmp_path: Path) -> None:
    some, options = cast(dataset.Examples, object()), GanOptions(underspecified="gan")
    how = settings(tmp_path, "new", 1, 8)
    with pytest.raises(EvalkitError, match="Leave out `data` or the option underspecified"):
        train_underspecified(how, some, some, options, tokenizer=TOKENIZER, judge=JUDGE)


def test_the_header_of_a_dalle_keeps_its_guidance_and_image_tokenizer(tmp_path: Path) -> None:
    path, how = BUNDLED / "dalle.safetensors", settings(tmp_path, "dalle-underspecified", 1, 4)
    small(how, path, count=8)
    before, after = load_dalle(path)[1], load_dalle(how.out)[1]
    assert {**before, "seed": 0, "steps": 1} == after
