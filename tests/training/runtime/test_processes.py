"""Two processes that share every batch learn what one learns, and so does a batch in parts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_trainings import curve_rows, scenes, settings, small_dalle

from evalkit.training.classifier import train_classifier
from evalkit.training.options import ClassifierOptions
from evalkit.training.runtime.processes import Processes, SharedBatchNorm

SCRIPT = """
import sys
from pathlib import Path
from small_trainings import *
from evalkit.training.classifier import train_classifier
from evalkit.training.clip import train_clip
from evalkit.training.gan import train_gan
from evalkit.training.image_tokenizer import train_image_tokenizer
from evalkit.training.options import ClassifierOptions, GanOptions, TokenizerOptions
from evalkit.training.runtime import curve
from evalkit.training.underspecified import train_underspecified

curve.to_bytes = lambda *chart: b""  # charts take longer than a few steps
out = Path(sys.argv[1])
data = scenes(), held_out()
small_dalle(settings(out, "dalle", 3), judge=None)
options = TokenizerOptions(levels="5,5,5", width=64)
train_image_tokenizer(settings(out, "image-tokenizer", 3), *data, options, feature_network=COACH)
train_classifier(settings(out, "coach", 3), scenes(), ClassifierOptions(width=8))
inception = BUNDLED / "mini-inception.safetensors"
train_clip(settings(out, "mini-clip", 3), *data, classifier=inception)
options, networks = GanOptions(gradient_penalty=1.0), {"clip": CLIP, "feature_network": COACH}
train_gan(settings(out, "gan", 3), *data, options, **networks, judge=None)
options = GanOptions(underspecified=str(BUNDLED / "gan.safetensors"))
how = settings(out, "gan-underspecified", 3)
train_underspecified(how, *data, options, tokenizer=TOKENIZER, judge=JUDGE)
"""
MODELS = ("dalle", "image-tokenizer", "coach", "mini-clip", "gan", "gan-underspecified")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "script.py").write_text(SCRIPT)
    helpers = str(Path(__file__).parents[2] / "helpers")
    environment = os.environ | {"PYTHONPATH": helpers, "OMP_NUM_THREADS": "1"}
    environment.pop("WORLD_SIZE", None)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, options in (("one", []), ("two", launch)):
        done = subprocess.run(
            [sys.executable, *options, folder / "script.py", folder / name],
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
            if model == "gan":
                # Adam without momentum takes steps of one size, 8e-4, also for the few gradients
                # that are rounding errors.
                assert away.mean() < 2e-4, name
            else:
                assert (away <= 1e-4 + 1e-3 * value.float().abs()).all(), name
    losses = [_last_row(runs / name / f"{model}.csv") for name in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=2e-2 if model == "gan" else 1e-3)


def _last_row(curve: Path) -> dict[str, float]:
    """Without the columns that a clock measures."""
    measured = ("seconds", "images_per_second", "memory_gb")
    row = curve_rows(curve)[-1]
    return {name: float(value) for name, value in row.items() if name not in measured}


@pytest.mark.slow
def test_only_the_first_process_writes(runs: Path) -> None:
    one, two = (sorted(path.name for path in (runs / name).iterdir()) for name in ("one", "two"))
    assert one == two
    assert len(curve_rows(runs / "two" / "dalle.csv")) == 1


def test_a_batch_in_parts_learns_what_the_whole_learns(tmp_path: Path) -> None:
    small_dalle(settings(tmp_path / "whole", "dalle", 3), judge=None)
    small_dalle(settings(tmp_path / "parts", "dalle", 3, accumulate=4), judge=None)
    whole, parts = (load_file(tmp_path / name / "dalle.safetensors") for name in ("whole", "parts"))
    assert all(
        torch.allclose(value.float(), parts[name].float(), rtol=2e-2, atol=2e-3)
        for name, value in whole.items()
    )


def test_shares_are_complete_and_disjoint() -> None:
    shares = [share for rank in range(3) for share in Processes(rank, 3).shares(24, 2)]
    assert [place for share in shares for place in range(24)[share]] == list(range(24))


def test_batch_normalisation_of_one_process_is_that_of_torch() -> None:
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
    weights: list[dict[str, torch.Tensor]] = []
    for name in ("fp32", precision):
        how = settings(tmp_path / name, "coach", 4, precision=name)
        train_classifier(how, scenes(), ClassifierOptions(width=8))
        weights.append(
            {name: w.float() for name, w in load_file(how.out).items() if w.is_floating_point()}
        )
    full, mixed = weights
    difference = max(float((full[name] - mixed[name]).abs().max()) for name in full)
    assert 0 < difference < 0.2 * max(float(value.abs().max()) for value in full.values())
