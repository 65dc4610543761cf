"""Reward models in a run: values, their conventions, what is kept, and weights that are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from openai_clip import network, noise
from PIL import Image
from torch import nn

import evalkit
from evalkit import plugins
from evalkit.core import MetricRow
from evalkit.encoders.weight_files import FILES, NEEDS
from evalkit.listing import scorers
from evalkit.scorers.rewards import affine

PROMPTS = ["a cat", "two dogs", "a red boat", "word " * 90]
REWARDS = ["aesthetic", "hpsv2", "hpsv2.1", "image_reward", "pickscore"]


def plain(prompts: list[str], seeds: list[int]) -> list[Image.Image]:
    return [noise(48, 64, seed=seed % 1000) for seed in seeds]


@pytest.fixture
def hps(pin) -> None:
    state = network(width=160, head=80, gelu=True).state_dict()
    pin("hpsv2", lambda path: torch.save({"state_dict": state}, path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with one image for each prompt."""
    evalkit.generate([plain], PROMPTS, out=tmp_path / "run")
    return tmp_path / "run"


def rows(folder: Path, metrics: str, **given: Any) -> dict[str, MetricRow]:
    found = evalkit.score(folder, metrics=metrics, encoders="pixels", **given)
    return {row.metric: row for row in found}


@pytest.mark.usefixtures("hps")
def test_a_run_states_the_convention_and_keeps_the_answers(folder: Path):
    found = rows(folder, "hpsv2")["hpsv2"]
    assert found.encoder == "hpsv2.0-cosine-x100"
    assert found.count == len(PROMPTS)
    assert found.low < found.value < found.high
    assert "1 prompt exceeds the encoder's context" in found.caution
    [kept] = folder.glob("features/*/hpsv2.0-cosine-x100.jsonl")
    before = kept.read_bytes()
    assert len(before.splitlines()) == len(PROMPTS)
    assert rows(folder, "hpsv2")["hpsv2"].value == found.value
    assert kept.read_bytes() == before
    other = rows(folder, "hpsv2", options={"hpsv2": {"convention": "cosine"}})["hpsv2"]
    assert other.encoder == "hpsv2.0-cosine"
    assert other.value == pytest.approx(found.value / 100, rel=1e-6)


@pytest.mark.usefixtures("empty_caches")
def test_missing_weights_leave_a_row_that_names_the_command(folder: Path):
    found = rows(folder, ",".join([*REWARDS, "duplicates"]))
    for name in REWARDS:
        assert "not measured: The weights of" in found[name].note, name
        assert f"evalkit weights fetch {name}" in found[name].note, name


@pytest.mark.usefixtures("empty_caches")
def test_the_list_states_what_is_missing():
    here = {row[0]: row[-1] for row in scorers().rows}
    assert here["hpsv2"] == "no: run `evalkit weights fetch hpsv2` (1,972 MB)"
    assert here["aesthetic"].endswith("`evalkit weights fetch aesthetic` (936 MB)")


@pytest.mark.usefixtures("hps")
def test_the_list_states_what_is_here():
    assert {row[0]: row[-1] for row in scorers().rows}["hpsv2"] == "yes"


def test_the_commands_for_weights_know_scorers(empty_caches: Path, pin, tmp_path: Path):
    pin("hpsv2", lambda path: path.write_bytes(b"a published file"))
    copy = tmp_path / "disk" / "renamed.bin"
    copy.parent.mkdir()
    (empty_caches / FILES["hpsv2"].file).rename(copy)
    row = {row.name: row for row in evalkit.weights_list()}["hpsv2"]
    assert (row.encoders, row.state) == (("hpsv2",), "missing")
    evalkit.weights_import(copy.parent)
    assert [(row.name, row.state) for row in evalkit.weights_verify(["hpsv2"])] == [
        ("hpsv2", "verified")
    ]
    (empty_caches / FILES["hpsv2"].file).unlink()
    copy.rename(copy.with_name(FILES["hpsv2"].file))
    [fetched] = evalkit.weights_fetch(["hpsv2"], mirror=str(copy.parent))
    assert (fetched.state, fetched.path) == ("fetched", str(empty_caches / FILES["hpsv2"].file))


def test_every_scorer_with_weights_is_installed():
    assert set(REWARDS) <= set(NEEDS)
    assert set(NEEDS) <= {*plugins.names("encoder"), *plugins.names("scorer")}


def test_layers_without_activation_are_one_map():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(5, 7), nn.Dropout(), nn.Linear(7, 3), nn.Linear(3, 1)).double()
    state = {f"layers.{name}": tensor for name, tensor in layers.state_dict().items()}
    weight, bias = affine(state)
    x = torch.randn(4, 5, dtype=torch.float64)
    assert torch.allclose(x @ weight + bias, layers.eval()(x)[:, 0], rtol=1e-12)
