"""Text encoders learn to read loose captions from themselves, who are told what these mean; nothing
else in a generator learns by it.
"""

from pathlib import Path
from random import Random
from typing import cast

import pytest
import torch
from safetensors.torch import load_file
from small_trainings import BUNDLED, CLIP, JUDGE, TOKENIZER, held_out, settings, world

from evalkit.core import EvalkitError
from evalkit.models.dalle import Dalle
from evalkit.models.gan import Gan
from evalkit.models.load import load_dalle, load_gan
from evalkit.models.text import TextTower
from evalkit.scenes import dataset
from evalkit.scenes.compose import Scene
from evalkit.scenes.loose import Loose, loose_caption
from evalkit.training import data
from evalkit.training.dalle import text_tower
from evalkit.training.underspecified import train_underspecified, training_caption
from evalkit.training.options import DalleOptions, GanOptions
from evalkit.training.pupils import DallePupil, GanPupil, Pupil
from evalkit.training.runtime.checkpoints import save_weights
from evalkit.training.runtime.loop import Settings

WORDS, PIECES = word_tokenizer(), subword_tokenizer()
READERS = {"gan": ("text.",), "dalle": ("text.", "order.")}


def _pupil(path: Path) -> Pupil:
    return (
        GanPupil(path, "cpu")
        if "gan" in path.name
        else DallePupil(path, TOKENIZER, held_out(), "cpu")
    )


@pytest.fixture(scope="module", params=["gan", "dalle"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator that has never been trained, but for which every word of a text matters."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("loose") / f"{request.param}.safetensors"
    if request.param == "gan":
        gan = Gan(TextTower(len(WORDS), WORDS.context, 32, 1, ordered=True), noise=8)
        config = {
            "kind": "gan",
            "pieces": list(WORDS.pieces),
            "context": WORDS.context,
            "width": 32,
            "depth": 1,
            "size": 32,
            "noise": 8,
        }
        save_weights(
            path,
            gan.state_dict(),
            config | {"widths": [(4, 128), (8, 128), (16, 64), (32, 32)], "seed": 0},
        )
    else:
        dalle = Dalle(text_tower(CLIP, PIECES), codes=3072, depth=2)
        for name, weight in dalle.named_parameters():
            if name.endswith(
                ("condition.weight", "project.weight", "contract.weight")
            ):  # a new one begins with zeros there
                torch.nn.init.normal_(weight, std=0.05)
        config = {
            "kind": "dalle",
            "pieces": list(PIECES.pieces),
            "context": PIECES.context,
            "codes": 3072,
            "side": 8,
            "width": 128,
        }
        save_weights(path, dalle.state_dict(), config | {"depth": 2, "heads": 4})
    return path


def small(how: Settings, path: Path, rate: float = 1e-3, scenes: int = 64) -> None:
    options = (
        GanOptions(underspecified=str(path), rate=rate, average=0.9)
        if "gan" in path.name
        else DalleOptions(underspecified=str(path), rate=rate)
    )
    train_underspecified(how, world(scenes), held_out(), options, tokenizer=TOKENIZER, judge=JUDGE)


def _same(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@torch.no_grad()
def _misread(before: Path, after: Path) -> list[float]:
    """By the teacher's copy as it was and as it became, on captions that were not in its training."""
    pupil = _pupil(before)
    told = [loose_caption(scene, Random(place)) for place, scene in enumerate(held_out().scenes)]
    errors: list[float] = []
    for weights in (before, after):
        pupil.network.load_state_dict(
            {name: value.float() for name, value in load_file(weights).items()}
        )
        errors.append(float(pupil.misread(told, range(64), [Random(place) for place in range(64)])))
    return errors


def test_only_the_text_encoder_learns_and_it_reads_better(tmp_path: Path, path: Path) -> None:
    how = settings(tmp_path, f"{path.stem}-loose", 40, 16)
    small(how, path, rate=3e-3)
    before, after = load_file(path), load_file(how.out)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in changed if not name.startswith(READERS[path.stem])} == set()
    errors = _misread(path, how.out)
    assert errors[1] < 0.85 * errors[0]


@pytest.mark.parametrize(("text", "least", "most"), [("two sheep", 0, 1e-9), ("a dog", 1e-3, 10)])
def test_who_reads_alike_misreads_nothing(path: Path, text: str, least: float, most: float) -> None:
    with torch.no_grad():
        error = float(_pupil(path).misread([Loose(text, "two sheep")], [0], [Random(0)]))
    assert least <= error <= most


def test_a_killed_training_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def killed(scene: Scene, random: Random) -> Loose:
        calls.append(1)
        if len(calls) > 4 * 3:
            raise KeyboardInterrupt
        return lesson(scene, random)

    gan = BUNDLED / "gan.safetensors"
    small(settings(tmp_path / "whole", "taught", 4, 4, every=2), gan, scenes=16)
    with monkeypatch.context() as patch:
        patch.setattr("evalkit.training.loose.lesson", killed)
        with pytest.raises(KeyboardInterrupt):
            small(settings(tmp_path / "parts", "taught", 4, 4, every=2), gan, scenes=16)
    weights = [tmp_path / name / "taught.safetensors" for name in ("whole", "parts")]
    assert not _same(*weights)
    small(settings(tmp_path / "parts", "taught", 4, 4, every=2), gan, scenes=16)
    assert _same(*weights)


def test_lessons_are_loose_or_full_or_of_nothing() -> None:
    scenes = dataset.scenes(0, 400)
    lessons = [lesson(scene, Random(place)) for place, scene in enumerate(scenes)]
    nothing = sum(told == Loose("", "") for told in lessons)
    assert 2 <= nothing <= 30
    assert lessons == [lesson(scene, Random(place)) for place, scene in enumerate(scenes)]
    unlike = sum(told.text != told.meaning for told in lessons)
    assert 0.5 < unlike / len(lessons) < 0.9


def test_what_cannot_be_learned_so(tmp_path: Path) -> None:
    network, config = load_gan(BUNDLED / "gan.safetensors")
    other, how = tmp_path / "gan.safetensors", settings(tmp_path, "new", 1, 8)
    save_weights(
        other,
        network.state_dict(),
        config | {"pieces": [f"word{place}" for place in range(len(WORDS.pieces))]},
    )
    with pytest.raises(EvalkitError, match="does not read the words of the bundled world"):
        small(how, other)
    for kind in ("gan", "dalle"):
        with pytest.raises(EvalkitError, match=f"There are no {kind} weights at"):
            small(how, tmp_path / "nowhere" / f"{kind}.safetensors")
    dalle, config = load_dalle(BUNDLED / "dalle.safetensors")
    save_weights(
        tmp_path / "dalle.safetensors",
        dalle.state_dict(),
        config | {"image_tokenizer": "sha256:0123456789abcdef"},
    )
    with pytest.raises(
        EvalkitError,
        match=r"other image tokens than .* differs in image_tokenizer \(sha256:0123456789abcdef there",
    ):
        small(how, tmp_path / "dalle.safetensors")
    some = cast(dataset.Examples, object())
    with pytest.raises(EvalkitError, match="Leave --data or the option loose out"):
        train_underspecified(how, some, some, GanOptions(underspecified=str(other)), tokenizer=TOKENIZER, judge=JUDGE)
    assert not list(tmp_path.glob("new*"))


def test_a_taught_dalle_keeps_what_it_needs_to_draw(tmp_path: Path) -> None:
    """Its guidance and its image tokenizer stay in the header."""
    path = BUNDLED / "dalle.safetensors"
    small(settings(tmp_path, "dalle-loose", 1, 4), path, scenes=8)
    before, after = load_dalle(path)[1], load_dalle(tmp_path / "dalle-loose.safetensors")[1]
    assert {**before, "seed": 0, "steps": 1} == after
