"""Generators learn to read loose captions from themselves, who are told what these mean; a gan learns nothing else by it."""

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import cast

import pytest
import torch
from safetensors.torch import load_file
from small_trainings import CLIP, JUDGE, TOKENIZER, held_out, settings, small_dalle, world
from torch.nn import functional as F

from evalkit.core import EvalkitError
from evalkit.models.dalle import Dalle
from evalkit.models.gan import Gan
from evalkit.models.load import load_dalle, load_gan
from evalkit.models.text import TextTower
from evalkit.scenes.loose import Loose, loose_caption
from evalkit.training import data, loose
from evalkit.training.checkpoint import save_weights
from evalkit.training.dalle import text_tower, train_dalle
from evalkit.training.loop import Settings
from evalkit.training.loose import misread, train_loose
from evalkit.training.options import DalleOptions, GanOptions

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


def test_a_caption_that_is_left_out_means_nothing_and_full_ones_mean_what_they_say() -> None:
    told = [Loose("cats unknownword", "two cats"), Loose("a dog", "a dog")] * 100
    texts, meanings = data.read_for_training(told, [Random(place) for place in range(200)], WORDS)
    nothing = data.read([""], WORDS)[0]
    left_out = [bool(torch.equal(row, nothing[: len(row)])) for row in texts]
    assert 5 < sum(left_out) < 40
    for row, out in enumerate(left_out):
        assert torch.equal(meanings[row], (nothing if out else data.read([told[row].meaning], WORDS)[0])[: meanings.shape[1]])
        if told[row].text == told[row].meaning:
            assert torch.equal(texts[row][texts[row] != 0], meanings[row][meanings[row] != 0])


def test_a_dalle_comes_nearer_to_one_that_is_told_what_is_meant(tmp_path: Path) -> None:
    pieces = data.subword_tokenizer()
    torch.manual_seed(0)
    network = Dalle(text_tower(CLIP, pieces), codes=3072, depth=1)
    with torch.no_grad():
        for layer in (network.head, network.blocks[0].condition):  # every text matters  # pyright: ignore[reportAttributeAccessIssue, reportIndexIssue]
            layer.weight.normal_(std=0.1)
    config = {"kind": "dalle", "pieces": list(pieces.pieces), "context": pieces.context, "codes": 3072, "side": 8, "width": 128}
    teacher = tmp_path / "dalle.safetensors"
    save_weights(teacher, network.state_dict(), config | {"depth": 1, "heads": 4})
    options = DalleOptions(depth=1, teacher=str(teacher), share=1.0, hidden=0.0, loose=True)
    small_dalle(settings(tmp_path, "dalle-loose", 40, 16), options, judge=None)
    told = [loose_caption(scene, Random(place)) for place, scene in enumerate(held_out().scenes)]
    texts, meanings = (data.read(part, pieces) for part in zip(*told, strict=True))
    tokens = torch.randint(0, 3072, (64, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        goal = load_dalle(teacher)[0](meanings, tokens).log_softmax(-1)
        before, after = (
            F.kl_div(load_dalle(path)[0](texts, tokens).log_softmax(-1), goal, log_target=True, reduction="batchmean")
            for path in (teacher, tmp_path / "dalle-loose.safetensors")
        )
    assert after < 0.9 * before


def test_loose_captions_are_of_the_bundled_world(tmp_path: Path) -> None:
    how, some = settings(tmp_path, "dalle", 1, 8), cast(data.Examples, object())
    with pytest.raises(EvalkitError, match=r"Leave --data or dalle\.loose out"):
        train_dalle(how, some, some, DalleOptions(loose=True), tokenizer=TOKENIZER, clip=CLIP, judge=None)
