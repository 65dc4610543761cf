"""Baseline files: history, update, older schemas, git, size."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner
from unchecked_runs import reseed

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
    assert "taken anyway (--force)" in forced.stderr
    assert [entry["forced"] for entry in history(base)] == [False, True]
    assert evalkit.gate(runs("shuffled"), baseline=base).exit_code == 0


def test_force_takes_what_is_worse_or_open_and_no_wrong_input(
    base: Path, runs: Runs, tmp_path: Path
) -> None:
    before, config = base.read_bytes(), tmp_path / "gate.toml"
    config.write_text("metrics.fid.max_drop = 1\n")
    wrong = {"baseline": base, "reason": "ein B\u00e4r", "config": config}
    with pytest.raises(EvalkitError, match="a regression is an increase"):
        evalkit.baseline_update(runs("blurred"), **wrong, force=True)
    config.write_text("on_inconclusive = 'fail'\n[metrics.missing_rate]\n")
    with pytest.raises(EvalkitError) as error:
        evalkit.baseline_update(runs("blurred"), **wrong)
    assert error.value.exit_code == 3
    assert error.value.message.startswith("The baseline stays as it is: No regression of ")
    assert "To take the model anyway: `" in error.value.hint
    assert base.read_bytes() == before
    made = evalkit.baseline_update(runs("blurred"), **wrong, force=True)
    assert made == base
    assert [entry["forced"] for entry in history(base)] == [False, True]
    assert "ein B\u00e4r" in base.read_text()
    with pytest.raises(EvalkitError, match="is not the name of a baseline; expected one that ends"):
        evalkit.baseline_save(runs("none"), out=tmp_path / "base.txt", reason="x")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(EvalkitError, match="is not the name of a baseline"):
        evalkit.baseline_save(runs("none"), out=tmp_path / "folder.json", reason="x")


def test_an_update_says_what_was_decided_and_records_what_was_allowed(
    base: Path, copy: Runs
) -> None:
    new = copy("none")
    config = new / "run.toml"
    reseed(config, 7)
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


def test_an_update_drops_no_metric_in_silence(base: Path, copy: Runs) -> None:
    new, before = copy("none"), base.read_bytes()
    path = new / "metrics.json"
    content = json.loads(path.read_text())
    content["rows"] = [row for row in content["rows"] if row["metric"] != "clip_score"]
    path.write_text(json.dumps(content))
    arguments = ["baseline", "update", str(new), "--baseline", str(base), "--reason", "less"]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 3, refused.stderr
    assert "has no value of clip_score, which the baseline has." in refused.stderr
    assert base.read_bytes() == before
    forced = CliRunner().invoke(app, [*arguments, "--force"])
    assert forced.exit_code == 0, forced.stderr
    assert "the baseline has no value any more of clip_score" in forced.stderr
    assert history(base)[-1]["forced"]


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


@pytest.mark.parametrize(
    ("arguments", "content", "message"),
    [
        (["--reason", "x"], b"\xff\xfe\x00", "new.json cannot be read"),
        (["--reason", "x \udcff"], None, "is not Unicode text"),
        ([], None, "No reason is given"),
    ],
)
def test_what_cannot_be_saved_is_one_sentence_and_exit_code_2(
    arguments: list[str], content: bytes | None, message: str, runs: Runs, tmp_path: Path
) -> None:
    place = tmp_path / "new.json"
    if content is not None:
        place.write_bytes(content)
    command = ["baseline", "save", str(runs("none")), "--out", str(place), *arguments]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 2
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert (place.read_bytes() if place.exists() else None) == content


def test_a_defect_of_saving_never_has_the_exit_code_of_a_regression(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **more: object) -> None:
        raise ZeroDivisionError

    module = importlib.import_module("evalkit.gate.baseline")  # evalkit.gate is the function
    monkeypatch.setattr(module, "take", broken)
    command = ["baseline", "save", str(runs("none")), "--out", str(tmp_path / "new.json")]
    found = CliRunner().invoke(app, [*command, "--reason", "x"])
    assert found.exit_code == 2
    assert "ZeroDivisionError" in found.stderr


def test_arguments_of_another_type_are_one_sentence(runs: Runs, tmp_path: Path) -> None:
    for arguments, message in (
        ({"reason": None}, "reason is None; expected a text"),
        ({"reason": 3}, "reason is 3; expected a text"),
        ({"out": None}, "out is None; expected a path"),
        ({"candidate": 3}, "candidate is 3; expected a text or a path"),
    ):
        given = {"candidate": runs("none"), "out": tmp_path / "b.json", "reason": "x", **arguments}
        with pytest.raises(EvalkitError, match=message):
            evalkit.baseline_save(given.pop("candidate"), **given)


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
        del state["measure"]["version"], state["left_out_pairs"]
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


Content = dict[str, Any]


def _set(path: str, change: Any) -> Callable[[Content], None]:
    """Sets `states/fid/value`, below the snapshot; a function makes the new value from the old."""

    def edit(content: Content) -> None:
        *parents, last = path.split("/")
        place = content["snapshot"]
        for name in parents:
            place = place[name]
        place[last] = change(place[last]) if callable(change) else change

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        _set("states/clip_score/values", lambda old: ["1.0" for _ in old]),
        _set("states/clip_score/values", lambda old: [None for _ in old]),
        _set("states/clip_score/values", lambda old: [True for _ in old]),
        _set("states/clip_score/values", lambda old: [-1.7e308 for _ in old]),
        _set("states/clip_score/values", lambda old: old[:-1]),
        _set("states/fid/left_out", lambda old: old[:3]),
        _set("states/fid/left_out", []),
        _set("states/fid/left_out_pairs", [1.0]),
        _set("states/fid/left_out_pairs", "none"),
        _set("states/fid/left_out", lambda old: [1e308 for _ in old]),
        _set("states/fid/value", 1e308),
        _set("states/fid/value", "69"),
        _set("states/fid/note", None),
        _set("states/fid/measure/better", "up"),
        _set("states/fid/measure/range", ["a", "b"]),
        _set("states/fid/measure/range", 3),
        _set("states/fid/keys", 99),
        _set("states", {}),
        _set("states", []),
        _set("keys", lambda old: [one[:1] * len(one) for one in old]),
        _set("keys", lambda old: [[["unknown", 0], *one[1:]] for one in old]),
        _set("conditions", []),
        _set("conditions", {}),
        _set("conditions/encoders", None),
        _set("prompts", list),
        _set("prompts", {}),
        _set("groups", None),
        _set("images", [["a", "b"]]),
        _set("blind", "mini-inception"),
        _set("model", None),
        _set("name", None),
        _set("version", "\ud800"),
        lambda content: content.update(snapshot=[]),
        lambda content: content.update(schema=1),
    ],
)
def test_a_damaged_file_is_one_sentence(
    edit: Callable[[Content], None], base: Path, runs: Runs
) -> None:
    content = json.loads(base.read_text())
    edit(content)
    entry = content["history"][-1]
    del entry["sha256"]
    with contextlib.suppress(UnicodeEncodeError):
        entry["sha256"] = content_hash(content)
    base.write_text(json.dumps(content))
    with pytest.raises(EvalkitError, match=r"base\.json is damaged: ") as error:
        evalkit.gate(runs("none"), baseline=base)
    assert error.value.exit_code == 2


def test_numbers_that_are_not_finite_and_schemas_that_are_no_numbers(
    base: Path, runs: Runs
) -> None:
    text = base.read_text()
    for old, new, message in (
        ('"value": ', '"value": 1e999, "old": ', "is damaged"),
        ('"value": ', '"value": NaN, "old": ', "NaN, which is not finite"),
        ('"schema": 2', '"schema": true', "has the schema True; expected 2"),
        ('"schema": 2', '"schema": 2.0', r"has the schema 2\.0; expected 2"),
    ):
        base.write_text(text.replace(old, new, 1))
        with pytest.raises(EvalkitError, match=message):
            evalkit.gate(runs("none"), baseline=base)


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
    with pytest.raises(EvalkitError, match=r"git has no 'a:b\.json' in 'main'"):
        evalkit.gate(runs("none"), baseline="git:main:a:b.json")
    with pytest.raises(EvalkitError, match="git has no revision 'mian'"):
        evalkit.gate(runs("none"), baseline="git:mian:base.json")
    with pytest.raises(EvalkitError, match="names no file of a revision"):
        evalkit.gate(runs("none"), baseline="git:--output=x:base.json")


def test_without_git_the_path_of_the_file_is_asked_for(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EvalkitError, match=r"git is not installed, and git:main:base\.json is"):
        evalkit.gate(runs("none"), baseline="git:main:base.json")


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
