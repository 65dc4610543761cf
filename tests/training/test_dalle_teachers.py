"""Guidance distillation: a student draws by itself as its teacher does with guidance."""

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
from evalkit.training import data
from evalkit.training.dalle import text_tower
from evalkit.training.options import DalleOptions
from evalkit.training.runtime.checkpoints import save_weights

PIECES = subword_tokenizer()


def opinionated(path: Path, seed: int, **header: float) -> None:
    """A dalle that was never trained and has an opinion on every text."""
    torch.manual_seed(seed)
    network = Dalle(text_tower(CLIP, PIECES), codes=3072, depth=1)
    with torch.no_grad():
        for layer in (network.head, network.blocks[0].condition):  # pyright: ignore[reportAttributeAccessIssue, reportIndexIssue]
            layer.weight.normal_(std=0.1)
    config = {
        "kind": "dalle",
        "pieces": list(PIECES.pieces),
        "context": PIECES.context,
        "codes": 3072,
        "side": 8,
        "width": 128,
    }
    save_weights(path, network.state_dict(), config | {"depth": 1, "heads": 4} | header)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher who has an opinion on every text, and what its student of twenty steps became."""
    folder = tmp_path_factory.mktemp("guided")
    opinionated(folder / "dalle.safetensors", seed=0)
    (folder / "image-tokenizer.safetensors").symlink_to(BUNDLED / "image-tokenizer.safetensors")
    options = DalleOptions(
        depth=1, teacher=str(folder / "dalle.safetensors"), guided=3.0, share=1.0, hidden=0.0
    )
    small_dalle(settings(folder, "dalle-guided", 20, 8), options, judge=None)
    return folder


@torch.no_grad()
def _logits(network: Dalle, texts: list[str]) -> Tensor:
    images, _ = load_image_tokenizer(BUNDLED / "image-tokenizer.safetensors")
    return network(tokenize(texts, PIECES), images.encode(to_unit(held_out().pictures(range(64)))))


def test_the_student_comes_nearer_to_the_guided_teacher(folder: Path) -> None:
    teacher, student = (
        load_dalle(folder / f"{name}.safetensors")[0] for name in ("dalle", "dalle-guided")
    )
    with_text, without = _logits(teacher, held_out().prompts()), _logits(teacher, [""] * 64)
    goal = without + 3 * (with_text - without)
    assert _divergence(_logits(student, held_out().prompts()), goal) < 0.9 * _divergence(
        with_text, goal
    )


def test_the_student_of_two_comes_nearer_to_the_mean_of_their_logits(tmp_path: Path) -> None:
    names = ("one", "two")
    for seed, name in enumerate(names):
        opinionated(tmp_path / f"{name}.safetensors", seed)
    teachers = ",".join(str(tmp_path / f"{name}.safetensors") for name in names)
    small_dalle(
        settings(tmp_path, "student", 20, 8),
        DalleOptions(depth=1, teacher=teachers, share=1.0, hidden=0.0),
        judge=None,
    )
    one, two, student = (
        _logits(load_dalle(tmp_path / f"{name}.safetensors")[0], held_out().prompts())
        for name in (*names, "student")
    )
    goal = (one + two) / 2
    assert _divergence(student, goal) < 0.9 * _divergence(one, goal)  # as which it began
    assert load_dalle(tmp_path / "student.safetensors")[1]["guidance"] == GUIDANCE


def test_teachers_that_draw_with_different_guidance_are_refused(tmp_path: Path) -> None:
    opinionated(tmp_path / "one.safetensors", 0)
    opinionated(tmp_path / "two.safetensors", 1, guidance=1.0)
    options = DalleOptions(
        depth=1, teacher=f"{tmp_path}/one.safetensors,{tmp_path}/two.safetensors"
    )
    with pytest.raises(EvalkitError, match=r"draw with different guidance: 1.0, 1.8"):
        small_dalle(settings(tmp_path, "student", 1, 8), options, judge=None, scenes=8)


def _divergence(logits: Tensor, goal: Tensor) -> Tensor:
    return torch.nn.functional.kl_div(
        logits.log_softmax(-1), goal.log_softmax(-1), log_target=True, reduction="batchmean"
    )


def test_what_the_weights_need_is_in_their_header(folder: Path) -> None:
    """A student needs no guidance, its teacher the usual one, and a user's wish comes first."""
    prompts, seeds = ["a dog on the grass", "two red circles in the snow"], [1, 2]

    def drawn(name: str, guidance: float | None = None, **sampling: float) -> list[np.ndarray]:
        generator = dalle.load(
            weights=str(folder / name), guidance=guidance, device="cpu", **sampling
        )  # pyright: ignore[reportArgumentType]
        return [np.asarray(picture) for picture in generator(prompts, seeds)]

    assert load_dalle(folder / "dalle-guided.safetensors")[1]["guidance"] == 1.0
    assert np.array_equal(drawn("dalle-guided.safetensors"), drawn("dalle-guided.safetensors", 1.0))
    assert not np.array_equal(
        drawn("dalle-guided.safetensors"), drawn("dalle-guided.safetensors", 3.0)
    )
    assert np.array_equal(drawn("."), drawn("dalle.safetensors", GUIDANCE))
    assert np.array_equal(
        drawn("dalle-guided.safetensors"), drawn("dalle-guided.safetensors", temperature=1.0)
    )
    assert np.array_equal(drawn("."), drawn(".", temperature=0.6))
    assert not np.array_equal(drawn("."), drawn(".", temperature=1.0))


def test_a_guided_teacher_is_not_guided_twice(folder: Path) -> None:
    for guided, fine in ((1.0, True), (2.0, False)):
        options = DalleOptions(
            depth=1, teacher=str(folder / "dalle-guided.safetensors"), guided=guided
        )
        how = settings(folder, f"again-{guided}", 1, 8)
        if fine:
            small_dalle(how, options, judge=None, scenes=8)
            assert load_dalle(how.out)[1]["guidance"] == 1.0  # nor is the student of a guided one
        else:
            with pytest.raises(EvalkitError, match="learned from a guided teacher itself"):
                small_dalle(how, options, judge=None, scenes=8)
