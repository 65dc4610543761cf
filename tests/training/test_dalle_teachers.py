"""A student of one or several teachers, with or without their guidance."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_trainings import BUNDLED, CLIP, held_out, settings, small_dalle
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.generators import dalle
from evalkit.models.dalle import GUIDANCE, Dalle
from evalkit.models.load import load_dalle, load_image_tokenizer
from evalkit.models.mini_inception import to_unit
from evalkit.training.dalle import text_tower
from evalkit.training.options import DalleOptions
from evalkit.training.runtime.checkpoints import save_weights
from evalkit.training.tokens import subword_tokenizer, tokenize

TOKENIZER = subword_tokenizer()


def random_dalle(path: Path, seed: int, **header: float) -> None:
    """Random weights with which every text has an influence."""
    torch.manual_seed(seed)
    network = Dalle(text_tower(CLIP, TOKENIZER), codes=3072, depth=1)
    with torch.no_grad():
        for layer in (network.head, next(network.each_block()).condition):
            layer.weight.normal_(std=0.1)
    config = {
        "kind": "dalle",
        "pieces": list(TOKENIZER.pieces),
        "context": TOKENIZER.context,
        "codes": 3072,
        "side": 8,
        "width": 128,
        "depth": 1,
        "heads": 4,
    }
    save_weights(path, network.state_dict(), config | header)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher with random weights, and its guided student after twenty steps."""
    folder = tmp_path_factory.mktemp("guided")
    random_dalle(folder / "dalle.safetensors", seed=0)
    (folder / "image-tokenizer.safetensors").symlink_to(BUNDLED / "image-tokenizer.safetensors")
    options = DalleOptions(
        depth=1, teacher=str(folder / "dalle.safetensors"), guided=3.0, share=1.0, hidden=0.0
    )
    small_dalle(settings(folder, "dalle-guided", 20, 8), options, judge=None)
    return folder


@torch.no_grad()
def _logits(path: Path, texts: list[str]) -> Tensor:
    network, _ = load_dalle(path)
    tokenizer, _ = load_image_tokenizer(BUNDLED / "image-tokenizer.safetensors")
    images = to_unit(held_out().images(range(64)))
    return network(tokenize(texts, TOKENIZER), tokenizer.encode(images))


def _divergence(logits: Tensor, goal: Tensor) -> Tensor:
    return torch.nn.functional.kl_div(
        logits.log_softmax(-1), goal.log_softmax(-1), log_target=True, reduction="batchmean"
    )


def test_the_student_approaches_the_guided_teacher(folder: Path) -> None:
    teacher, prompts = folder / "dalle.safetensors", held_out().prompts()
    with_text, without = _logits(teacher, prompts), _logits(teacher, [""] * 64)
    goal = without + 3 * (with_text - without)
    student = _logits(folder / "dalle-guided.safetensors", prompts)
    assert _divergence(student, goal) < 0.9 * _divergence(with_text, goal)


def test_the_student_of_two_approaches_the_mean_of_their_logits(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.safetensors" for name in ("one", "two", "student")]
    for seed, file in enumerate(files[:2]):
        random_dalle(file, seed)
    teachers = ",".join(map(str, files[:2]))
    options = DalleOptions(depth=1, teacher=teachers, share=1.0, hidden=0.0)
    small_dalle(settings(tmp_path, "student", 20, 8), options, judge=None)
    one, two, student = (_logits(file, held_out().prompts()) for file in files)
    goal = (one + two) / 2
    assert _divergence(student, goal) < 0.9 * _divergence(one, goal)  # it started as a copy of one
    assert load_dalle(files[2])[1]["guidance"] == GUIDANCE


def test_teachers_with_different_guidance_are_refused(tmp_path: Path) -> None:
    random_dalle(tmp_path / "one.safetensors", 0)
    random_dalle(tmp_path / "two.safetensors", 1, guidance=1.0)
    teachers = f"{tmp_path}/one.safetensors,{tmp_path}/two.safetensors"
    options = DalleOptions(depth=1, teacher=teachers)
    with pytest.raises(EvalkitError, match=r"need different guidance: 1.0, 1.8"):
        small_dalle(settings(tmp_path, "student", 1, 8), options, judge=None, count=8)


def test_the_header_of_weights_says_how_to_sample(folder: Path) -> None:
    """A guided student needs no guidance, its teacher the default. Options take priority."""
    prompts, seeds = ["a dog on the grass", "two red circles in the snow"], [1, 2]

    def drawn(name: str, guidance: float | None = None, **sampling: float) -> list[np.ndarray]:
        generator = dalle.load(
            weights=str(folder / name), guidance=guidance, device="cpu", **sampling
        )  # pyright: ignore[reportArgumentType]
        return [np.asarray(image) for image in generator(prompts, seeds)]

    student, teacher = "dalle-guided.safetensors", "dalle.safetensors"
    assert load_dalle(folder / student)[1]["guidance"] == 1.0
    assert np.array_equal(drawn(student), drawn(student, 1.0))
    assert not np.array_equal(drawn(student), drawn(student, 3.0))
    assert np.array_equal(drawn("."), drawn(teacher, GUIDANCE))
    assert np.array_equal(drawn(student), drawn(student, temperature=1.0))
    assert np.array_equal(drawn("."), drawn(".", temperature=0.6))
    assert not np.array_equal(drawn("."), drawn(".", temperature=1.0))


def test_a_guided_teacher_cannot_be_guided_again(folder: Path) -> None:
    teacher = str(folder / "dalle-guided.safetensors")
    with pytest.raises(EvalkitError, match="learned from a guided teacher itself"):
        small_dalle(
            settings(folder, "guided-again", 1, 8),
            DalleOptions(depth=1, teacher=teacher, guided=2.0),
            judge=None,
            count=8,
        )


def test_the_student_of_a_guided_student_needs_no_guidance(folder: Path) -> None:
    options = DalleOptions(depth=1, teacher=str(folder / "dalle-guided.safetensors"))
    how = settings(folder, "second", 1, 8)
    small_dalle(how, options, judge=None, count=8)
    assert load_dalle(how.out)[1]["guidance"] == 1.0
