"""A gan learns to read loose captions from itself, and learns nothing else."""

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import cast

import pytest
import torch
from safetensors.torch import load_file
from small_trainings import JUDGE, held_out, settings, world

from evalkit.core import EvalkitError
from evalkit.models.gan import Gan
from evalkit.models.load import load_gan
from evalkit.models.text import TextTower
from evalkit.scenes.loose import loose_caption
from evalkit.training import data, loose
from evalkit.training.checkpoint import save_weights
from evalkit.training.loop import Settings
from evalkit.training.loose import misread, train_loose
from evalkit.training.options import GanOptions

WORDS = data.word_tokenizer()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gan that has never been trained, but for which every word of a text matters."""
    torch.manual_seed(0)
    network = Gan(TextTower(len(WORDS), WORDS.context, 32, 1, ordered=True), noise=8, size=32)
    config = {"kind": "gan", "pieces": list(WORDS.pieces), "context": WORDS.context, "width": 32, "depth": 1, "size": 32, "noise": 8}
    path = tmp_path_factory.mktemp("teacher") / "gan.safetensors"
    save_weights(path, network.state_dict(), config | {"widths": [(4, 128), (8, 128), (16, 64), (32, 32)], "seed": 0})
    return path


def small(how: Settings, options: GanOptions) -> None:
    train_loose(how, world(), held_out(), options, judge=JUDGE)


def _same(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _misread(student: Path, teacher: Path) -> float:
    """On captions and noise that were not in the training."""
    told = [loose_caption(scene, Random(place)) for place, scene in enumerate(held_out().scenes)]
    texts, meanings = (data.read(part, WORDS) for part in zip(*told, strict=True))
    noise = torch.randn(len(told), 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return float(misread(load_gan(student)[0], load_gan(teacher)[0], texts, meanings, noise))


def test_only_the_text_encoder_learns_and_it_reads_better(tmp_path: Path, teacher: Path) -> None:
    small(settings(tmp_path, "gan-loose", 60, 32), GanOptions(teacher=str(teacher), rate=3e-3, average=0.9))
    before, after = load_file(teacher), load_file(tmp_path / "gan-loose.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("text.") for name in changed)
    assert _misread(tmp_path / "gan-loose.safetensors", teacher) < 0.7 * _misread(teacher, teacher)


def test_who_reads_alike_misreads_nothing(teacher: Path) -> None:
    network, noise = load_gan(teacher)[0], torch.randn(1, 8)
    cats, two_cats = (data.read([text], WORDS) for text in ("cats", "two cats"))
    with torch.no_grad():
        assert float(misread(network, network, cats, cats, noise)) == 0
        assert float(misread(network, network, cats, two_cats, noise)) > 0.01


def test_a_killed_training_goes_on_bit_for_bit(tmp_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, calls = GanOptions(teacher=str(teacher)), []

    def killed(*inputs: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return misread(*inputs)  # pyright: ignore[reportArgumentType]

    small(settings(tmp_path / "whole", "gan-loose", 6, 8, every=2), options)
    with monkeypatch.context() as patch:
        patch.setattr(loose, "misread", killed)
        with pytest.raises(KeyboardInterrupt):
            small(settings(tmp_path / "parts", "gan-loose", 6, 8, every=2), options)
    small(settings(tmp_path / "parts", "gan-loose", 6, 8, every=2), options)
    assert _same(*(tmp_path / name / "gan-loose.safetensors" for name in ("whole", "parts")))


def test_another_gan_can_learn_from_the_teacher(tmp_path: Path, teacher: Path) -> None:
    options, first = GanOptions(teacher=str(teacher)), tmp_path / "gan-first.safetensors"
    small(settings(tmp_path, "gan-first", 4, 8), options)
    small(settings(tmp_path, "gan-loose", 1, 8), replace(options, weights=str(first), rate=0.0))
    assert _same(first, tmp_path / "gan-loose.safetensors")
    assert not _same(first, teacher)


def test_what_cannot_be_learned_so(tmp_path: Path, teacher: Path) -> None:
    weights = load_file(teacher)
    other = tmp_path / "other.safetensors"
    save_weights(other, weights, load_gan(teacher)[1] | {"pieces": [f"word{place}" for place in range(len(WORDS.pieces))]})
    with pytest.raises(EvalkitError, match="does not read the bundled world: it differs in pieces"):
        small(settings(tmp_path, "new", 1, 8), GanOptions(teacher=str(other)))
    with pytest.raises(EvalkitError, match="There are no gan weights at nowhere"):
        small(settings(tmp_path, "new", 1, 8), GanOptions(teacher="nowhere"))
    with pytest.raises(EvalkitError, match=r"Leave --data or gan\.teacher out"):
        train_loose(settings(tmp_path, "new", 1, 8), cast(data.Examples, object()), held_out(), GanOptions(), judge=JUDGE)
    assert not list(tmp_path.glob("new*"))
