"""Baseline files: history, update, older schemas, git, size."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError, Measure
from evalkit.gate.baseline_file import content_hash, to_content
from evalkit.gate.snapshot import Snapshot, State

Runs = Callable[[str], Path]


def history(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["history"]


@pytest.fixture
def base(runs: Runs, tmp_path: Path) -> Path:
    return evalkit.baseline_save(runs("none"), out=tmp_path / "base.json", reason="first")


def test_a_model_that_is_not_worse_replaces_the_baseline(base: Path, copy: Runs) -> None:
    evalkit.baseline_update(copy("none"), baseline=base, reason=" second ")
    first, second = history(base)
    assert (first["reason"], second["reason"]) == ("first", "second")
    assert second.keys() == {"date", "reason", "model", "version", "forced", "allowed", "sha256"}
    assert (second["forced"], second["version"]) == (False, evalkit.__version__)


def test_a_regressed_model_does_not_without_force(base: Path, runs: Runs) -> None:
    before = base.read_bytes()
    arguments = ["baseline", "update", str(runs("shuffled")), "--baseline", str(base), "--reason"]
    refused = CliRunner().invoke(app, [*arguments, "new"])
    assert refused.exit_code == 1
    assert "clip_score" in refused.stderr
    assert "--force" in refused.stderr
    assert base.read_bytes() == before
    forced = CliRunner().invoke(app, [*arguments, "new prompts", "--force"])
    assert forced.exit_code == 0, forced.stderr
    assert "is worse than" in forced.stderr
    assert "taken all the same (--force)" in forced.stderr
    assert [entry["forced"] for entry in history(base)] == [False, True]
    assert evalkit.gate(runs("shuffled"), baseline=base).exit_code == 0


def test_an_update_says_what_was_decided_and_records_what_was_allowed(
    base: Path, copy: Runs
) -> None:
    new = copy("none")
    config = new / "run.toml"
    config.write_text(config.read_text().replace("seed = 0", "seed = 7"))
    arguments = ["baseline", "update", str(new), "--baseline", str(base), "--reason", "seed 7"]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 4
    found = CliRunner().invoke(app, [*arguments, "--allow-mismatch", "seed"])
    assert found.exit_code == 0, found.stderr
    said = " ".join(found.stderr.split())
    assert f"{new}:model is not worse than {base} by more than allowed." in said
    assert f"{new}:model is the baseline now, in {base}" in said
    assert [entry["allowed"] for entry in history(base)] == [
        [],
        [{"field": "seed", "candidate": "7", "baseline": "0"}],
    ]


def test_an_update_of_wrong_input_is_refused_with_and_without_force(
    base: Path, runs: Runs, tmp_path: Path
) -> None:
    before = base.read_bytes()
    for force in (False, True):
        with pytest.raises(EvalkitError, match="There is no baseline"):
            evalkit.baseline_update(
                runs("none"), baseline=tmp_path / "no.json", reason="x", force=force
            )
        with pytest.raises(EvalkitError, match="no run folder"):
            evalkit.baseline_update(tmp_path / "run", baseline=base, reason="x", force=force)
        with pytest.raises(EvalkitError, match="No reason"):
            evalkit.baseline_update(runs("none"), baseline=base, force=force)
    assert base.read_bytes() == before


def test_a_file_that_was_edited_keeps_no_history(base: Path, runs: Runs) -> None:
    base.write_text(base.read_text().replace("first", "frist"))
    with pytest.raises(EvalkitError, match="was edited"):
        evalkit.baseline_save(runs("none"), out=base, reason="second")


def test_a_file_of_the_first_schema_is_read(base: Path, runs: Runs) -> None:
    content = json.loads(base.read_text())
    content["schema"] = 1
    snapshot, [entry] = content["snapshot"], content["history"]
    del snapshot["images"]
    known = ("seed", "per_prompt", "generation", "image_size", "encoders", "references")
    snapshot["conditions"] = {
        name: value for name, value in snapshot["conditions"].items() if name in known
    } | {"metric_options": snapshot["conditions"]["metric_options"]}
    for state in snapshot["states"].values():
        del state["measure"]["version"]
    for field in ("version", "forced", "sha256"):
        del entry[field]
    entry["sha256"] = content_hash(content)
    base.write_text(json.dumps(content))
    made = evalkit.gate(runs("none"), baseline=base)
    assert made.exit_code == 0
    fields = {one.field.partition(".")[0] for one in made.unchecked}
    assert fields == {"encoding_device", "encoding_dtype", "reference_features", "prompt_rewriting"}
    assert evalkit.gate(runs("shuffled"), baseline=base).exit_code == 1
    evalkit.baseline_update(runs("none"), baseline=base, reason="new format")
    assert json.loads(base.read_text())["schema"] == 2
    assert [entry["reason"] for entry in history(base)] == ["first", "new format"]


def test_git_revisions(runs: Runs, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = base.parent / "repository"
    (root / "sub").mkdir(parents=True)
    monkeypatch.chdir(base.parent)
    with pytest.raises(EvalkitError, match="is not in a git repository"):
        evalkit.gate(runs("none"), baseline="git:main:base.json")
    base.rename(root / "sub" / "base.json")
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-qb", "main"], ["add", "."], ["commit", "-qm", "base"]):
        subprocess.run([*git, *arguments], check=True)
    (root / "sub" / "base.json").unlink()
    for place, name in (("", "sub/base.json"), ("sub", "base.json"), ("sub", "sub/base.json")):
        monkeypatch.chdir(root / place)
        assert evalkit.gate(runs("none"), baseline=f"git:main:{name}").exit_code == 0
    with pytest.raises(EvalkitError, match=r"git has no 'other\.json' in 'main'"):
        evalkit.gate(runs("none"), baseline="git:main:other.json")
    with pytest.raises(EvalkitError, match="git has no revision 'mian'"):
        evalkit.gate(runs("none"), baseline="git:mian:base.json")
    with pytest.raises(EvalkitError, match="names no file of a revision"):
        evalkit.gate(runs("none"), baseline="git:--output=x:base.json")


def test_a_file_of_500_prompts_and_ten_metrics_is_below_3_mb() -> None:
    random = np.random.RandomState(0)
    keys = tuple((f"prompt-{at:05d}", 0) for at in range(500))
    values, left_out = tuple(random.rand(500).tolist()), tuple(random.rand(20).tolist())
    states = {}
    for at in range(10):
        name, is_set = f"metric_{at}", at % 2
        states[name] = State(
            Measure(name, "lower"), "encoder", "reference", 0.5, 0.4, 0.6,
            values=None if is_set else values, left_out=left_out if is_set else None, keys=keys,
        )  # fmt: skip
    texts = {prompt: f"a photo of {prompt} " * 10 for prompt, _ in keys}
    images = tuple((*key, hashlib.sha256(str(key).encode()).hexdigest()) for key in keys)
    groups = dict.fromkeys(texts, "group")
    snapshot = Snapshot("run:m", "m", texts, groups, {}, states, "0", images=images)
    assert len(json.dumps(to_content(snapshot))) < 3e6
