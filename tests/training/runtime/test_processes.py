"""Two processes that share every batch learn what one process learns; and so does one that takes it
in parts.
"""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_trainings import settings, small_dalle, world

from evalkit.training.classifier import train_classifier
from evalkit.training.options import ClassifierOptions
from evalkit.training.runtime.processes import Processes, SharedBatchNorm

SCRIPT = """
import sys
from pathlib import Path
from small_trainings import *
from evalkit.training.gan import train_gan
from evalkit.training.image_tokenizer import train_image_tokenizer
from evalkit.training.underspecified import train_underspecified
from evalkit.training.classifier import train_classifier
from evalkit.training.clip import train_clip
from evalkit.training.options import ClassifierOptions, GanOptions, TokenizerOptions

out = Path(sys.argv[1])
small_dalle(settings(out, "dalle", 3), judge=None)
train_image_tokenizer(settings(out, "image-tokenizer", 3), world(), held_out(), TokenizerOptions(levels="5,5,5", width=64), feature_network=COACH)
train_classifier(settings(out, "coach", 3), world(), ClassifierOptions(width=8))
train_clip(settings(out, "mini-clip", 3), world(), held_out(), classifier=BUNDLED / "mini-inception.safetensors")
options = GanOptions(gradient_penalty=1.0)
train_gan(settings(out, "gan", 3), world(), held_out(), options, clip=CLIP, feature_network=COACH, judge=None)
taught = GanOptions(underspecified=str(BUNDLED / "gan.safetensors"))
train_underspecified(settings(out, "gan-loose", 3), world(), held_out(), taught, tokenizer=TOKENIZER, judge=JUDGE)
"""
MODELS = ("dalle", "image-tokenizer", "coach", "mini-clip", "gan", "gan-loose")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "script.py").write_text(SCRIPT)
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2] / "helpers"),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("WORLD_SIZE", None)
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    for name, command in (("one", [sys.executable]), ("two", launch)):
        done = subprocess.run(
            [*command, folder / "script.py", folder / name],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_two_processes_learn_what_one_learns(runs: Path, model: str) -> None:
    one, two = (load_file(runs / name / f"{model}.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        if value.is_floating_point():
            away = (value.float() - two[name].float()).abs()
            if (
                model == "gan"
                # Adam without momentum makes steps of one size, 8e-4, even of the few gradients that
                # are mere rounding
            ):
                assert away.mean() < 2e-4, name
            else:
                assert (away <= 1e-4 + 1e-3 * value.float().abs()).all(), name
    losses = [_numbers(runs / name / f"{model}.csv") for name in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=2e-2 if model == "gan" else 1e-3)


def _numbers(curve: Path) -> dict[str, float]:
    """The last row, without what is measured by the clock."""
    with curve.open(newline="") as file:
        row = list(csv.DictReader(file))[-1]
    return {
        name: float(value)
        for name, value in row.items()
        if name not in ("seconds", "images_per_second", "memory_gb")
    }


@pytest.mark.slow
def test_only_the_first_process_writes(runs: Path) -> None:
    assert sorted(path.name for path in (runs / "two").iterdir()) == sorted(
        path.name for path in (runs / "one").iterdir()
    )
    assert (runs / "two" / "dalle.csv").read_text().count("\n") == 2


def test_a_batch_in_parts_learns_what_the_whole_learns(tmp_path: Path) -> None:
    small_dalle(settings(tmp_path / "whole", "dalle", 3), judge=None)
    small_dalle(settings(tmp_path / "parts", "dalle", 3, accumulate=4), judge=None)
    whole, parts = (load_file(tmp_path / name / "dalle.safetensors") for name in ("whole", "parts"))
    assert all(
        torch.allclose(value.float(), parts[name].float(), rtol=2e-2, atol=2e-3)
        for name, value in whole.items()
    )


def test_shares_are_whole_and_disjoint() -> None:
    shares = [share for rank in range(3) for share in Processes(rank, 3).shares(24, 2)]
    assert [place for share in shares for place in range(24)[share]] == list(range(24))


def test_normalisation_of_one_process_is_that_of_torch() -> None:
    """The layer that counts all processes, alone in a group of one, beside torch's."""
    torch.manual_seed(0)
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        ours, theirs = SharedBatchNorm(3), torch.nn.BatchNorm2d(3)
        for _ in range(3):
            x = torch.randn(4, 3, 5, 5) * 2 + 1
            a, b = (x.clone().requires_grad_(True) for _ in range(2))
            ours(a).square().sum().backward()
            theirs(b).square().sum().backward()
            assert torch.allclose(ours(x), theirs(x), atol=1e-5)
            assert a.grad is not None
            assert b.grad is not None
            assert torch.allclose(a.grad, b.grad, atol=1e-4)
        assert ours.running_var is not None
        assert theirs.running_var is not None
        assert torch.allclose(ours.running_var, theirs.running_var, atol=1e-5)
        assert torch.allclose(ours.eval()(x), theirs.eval()(x), atol=1e-5)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns_like_fp32(tmp_path: Path, precision: str) -> None:
    train_classifier(settings(tmp_path / "fp32", "coach", 4), world(), ClassifierOptions(width=8))
    train_classifier(
        settings(tmp_path / precision, "coach", 4, precision=precision),
        world(),
        ClassifierOptions(width=8),
    )
    full, mixed = (load_file(tmp_path / name / "coach.safetensors") for name in ("fp32", precision))
    difference = max(
        float((full[name].float() - mixed[name].float()).abs().max())
        for name in full
        if full[name].is_floating_point()
    )
    moved = max(
        float(value.float().abs().max()) for value in full.values() if value.is_floating_point()
    )
    assert 0 < difference < 0.2 * moved
