"""`evalkit conventions --metric pickscore` and `hpsv2`, with small seeded networks."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from openai_clip import network
from safetensors.torch import save_file

import evalkit
from evalkit.core import EvalkitError
from evalkit.encoders import clip_model
from evalkit.results import Run

pytest.importorskip("transformers")


@pytest.fixture
def run(pin, tmp_path: Path) -> Run:
    """A run of one model, with weights of PickScore whose scale is exp(4.5)."""
    model = network(width=160, head=80, gelu=True).float()
    model.logit_scale.fill_(4.5)
    pin("pickscore", lambda path: save_file(clip_model.renamed(model.state_dict()), path))
    prompts = ["a red cat", "two dogs", "a tree", "a boat at night"]
    return evalkit.generate("noise", prompts, out=tmp_path / "run")


def test_a_quoted_pickscore_is_recognised_on_each_scale(run: Run) -> None:
    rows = {row.metric: row for row in evalkit.score(run.path, metrics="pickscore", only=True)}
    own = rows["pickscore"].value
    assert own is not None
    found = evalkit.conventions(run.path, metric="pickscore", target=f"{own:.3f}", device="cpu")
    values = {row.convention: row.value for row in found.rows}
    assert values["pickscore-v1-logit"] == pytest.approx(own, rel=1e-5)
    scale = math.exp(4.5)
    assert values["pickscore-v1-cosine"] == pytest.approx(own / scale, rel=1e-5)
    assert values["pickscore-v1-logit-26"] == pytest.approx(own / 26, rel=1e-5)
    assert "fits pickscore-v1-logit (" in found.verdict
    quoted = evalkit.conventions(
        run.path, metric="pickscore", target=f"{own / 26:.4f}", device="cpu"
    )
    assert "fits pickscore-v1-logit-26 (" in quoted.verdict


def test_versions_of_hps_without_weights_say_how_to_get_them(pin, run: Run) -> None:
    for metric in ("hpsv2", "hpsv2.1"):
        with pytest.raises(EvalkitError, match=r"HPS cannot be measured: .*weights") as error:
            evalkit.conventions(run.path, metric=metric)
        for command in ("`evalkit weights fetch hpsv2`", "`evalkit weights fetch hpsv2.1`"):
            assert error.value.hint.count(command) == 1
        assert ".." not in str(error.value)
    model = network(width=160, head=80, gelu=True).float()
    pin("hpsv2", lambda path: torch.save({"state_dict": model.state_dict()}, path))
    found = {row.convention: row for row in evalkit.conventions(run.path, metric="hpsv2").rows}
    of_v2, of_v21 = found["hpsv2.0-cosine"], found["hpsv2.1-cosine"]
    assert found["hpsv2.0-cosine-x100"].value == pytest.approx(100 * (of_v2.value or 0))
    assert found["hpsv2.0-aliased-cosine"].value is not None
    assert of_v21.value is None
    assert "evalkit weights fetch hpsv2.1" in of_v21.note


def test_weights_of_the_user_are_refused_where_they_would_not_be_used(run: Run) -> None:
    with pytest.raises(EvalkitError, match=r"PickScore has weights of its own"):
        evalkit.conventions(run.path, metric="pickscore", weights="mine.pt")
