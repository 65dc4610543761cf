"""Conditions: recorded by a run, compared by the gate, and said in every output."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from gated_runs import prompts
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError, Measure
from evalkit.gate.comparable import Mismatch, mismatches, require_comparable, unchecked
from evalkit.gate.snapshot import Snapshot, State, outline, take
from evalkit.run_folder import Run

Runs = Callable[[str], Path]


def edited(run: Path, file: str, change: Callable[[dict[str, Any]], object]) -> Path:
    """The run after a change of the content of one of its JSON files."""
    path = run / file
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return run


def with_settings(run: Path, **settings: object) -> Path:
    return edited(run, "images/model/model.json", lambda note: note.update(settings=settings))


def test_a_run_records_where_and_how_images_and_features_were_made(tmp_path: Path) -> None:
    run = evalkit.generate("dalle", prompts()[:2], out=tmp_path / "run")
    used = run.model("dalle")["settings"]
    assert used["device"]
    assert used["dtype"] == "float32"
    assert used["guidance"] > 0  # the default of the weights
    evalkit.score(run, metrics="fid", only=True, encoders="mini")
    encoded = run.protocol()["encoded_on"]["dalle"]["inception"]
    assert (encoded["device"], encoded["dtype"]) == (used["device"], "float32")


def test_a_model_that_is_continued_elsewhere_has_images_of_both_devices(tmp_path: Path) -> None:
    run = evalkit.generate("gan", prompts()[:2], out=tmp_path / "run")
    path = run.image_folder("gan") / "model.json"
    note = json.loads(path.read_text())
    here = note["settings"]["device"]
    note["settings"]["device"] = "cuda Elsewhere"
    run.write_model("gan", note)
    evalkit.generate("gan", prompts()[:3], out=run.path)
    assert run.model("gan")["settings"]["device"] == f"cuda Elsewhere and {here}"


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"device": "cuda A", "dtype": "float16"}, "device"),
        ({"device": "cpu", "dtype": "float32"}, "dtype"),
        ({"device": "cpu", "dtype": "float16", "guidance": 3.0}, "generation.guidance"),
    ],
)
def test_other_settings_are_not_comparable(
    settings: dict[str, Any], field: str, copy: Runs, tmp_path: Path
) -> None:
    base = with_settings(copy("none"), device="cpu", dtype="float16", guidance=7.5)
    other = with_settings(copy("shuffled"), **settings)
    with pytest.raises(EvalkitError, match=f"not comparable. {field}: ") as error:
        evalkit.gate(other, baseline=base)
    assert error.value.exit_code == 4
    plain = field.partition(".")[0]
    arguments = ["gate", str(other), "--baseline", str(base), "--allow-mismatch", plain]
    summary, junit = tmp_path / "summary.md", tmp_path / "gate.xml"
    shown = CliRunner().invoke(
        app, [*arguments, "--junit", str(junit)], env={"GITHUB_STEP_SUMMARY": str(summary)}
    )
    assert shown.exit_code == 1
    assert f"{field} differs" in shown.stdout
    assert f"{field} differs" in summary.read_text().replace("\\", "")
    remarks = ElementTree.parse(junit).getroot().findall(".//property")
    assert any(f"{field} differs" in str(one.get("value")) for one in remarks)
    [allowed] = json.loads((other / "gate.json").read_text())["allowed"]
    assert allowed["field"] == field


def test_what_only_one_run_records_is_said_and_no_reason_to_refuse(copy: Runs, runs: Runs) -> None:
    other = with_settings(copy("none"), device="cpu", dtype="float32", guidance=2.0)
    made = evalkit.gate(other, baseline=runs("none"))
    assert [one.field for one in made.unchecked] == ["device", "dtype"]
    assert "device was not checked: cpu, baseline not recorded." in made.remarks
    assert made.exit_code == 0


def test_the_seed_of_a_run_without_run_toml_is_not_known(copy: Runs, runs: Runs) -> None:
    other = copy("none")
    (other / "run.toml").unlink()
    allowed = "generation"  # the options are in this file, too
    made = evalkit.gate(other, baseline=runs("none"), allow_mismatch=allowed)
    assert "seed was not checked: not recorded, baseline 0." in made.remarks
    assert made.exit_code == 0
    given = [other, runs("none")]
    both = evalkit.compare(given, out=other.parent / "both", allow_mismatch=allowed)
    assert any("not every run records it: seed" in note for note in both.sources()["notes"])
    assert both.prompts() == evalkit.load(other).prompts()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda one: one["encoded_on"]["model"]["inception"].update(device="cuda A"), "device"),
        (lambda one: one["encoded_on"]["model"]["clip"].update(dtype="float16"), "dtype"),
    ],
)
def test_features_of_another_device_are_not_comparable(
    change: Callable[[dict[str, Any]], object], field: str, copy: Runs, runs: Runs
) -> None:
    other = edited(copy("none"), "protocol.json", change)
    with pytest.raises(EvalkitError, match=rf"encoding_{field}\.(inception|clip): ") as error:
        evalkit.gate(other, baseline=runs("none"))
    assert error.value.exit_code == 4
    assert evalkit.gate(other, baseline=runs("none"), allow_mismatch=[f"encoding_{field}"])


def test_prompts_that_a_service_rewrote_are_not_comparable(copy: Runs, runs: Runs) -> None:
    other = copy("none")
    [manifest] = other.rglob("manifest.*.jsonl")
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[3]["extra"] = "prompt revised: a nicer one"
    manifest.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(EvalkitError, match="prompt_rewriting: True, baseline False"):
        evalkit.gate(other, baseline=runs("none"))


def test_an_outline_has_the_prompts_and_conditions_of_a_snapshot(runs: Runs) -> None:
    whole, found = take(str(runs("none"))), outline(Run(runs("none")), "model")
    for field in ("name", "model", "prompts", "groups", "conditions", "version"):
        assert getattr(found, field) == getattr(whole, field)
    assert found.states == {}
    with pytest.raises(EvalkitError, match="has no scores of 'other'"):
        outline(Run(runs("none")), "other")


def test_ratings_of_a_run_are_numbers_of_its_snapshot(copy: Runs) -> None:
    run, rated = copy("none"), {"metric": "win_rate", "encoder": "human:x", "reference": "other"}
    numbers = {"value": 0.5, "low": 0.4, "high": 0.6, "interval": "Student t", "note": "12 votes"}

    def add(content: dict[str, Any]) -> None:
        row = {**content["rows"][0], **rated, **numbers, "better": "higher"}
        content["rows"] += [row, {**row, "model": "another", "value": 0.9}]

    edited(run, "metrics.json", add)
    edited(run, "protocol.json", lambda c: c["measures"].update(win_rate={"from_ratings": True}))
    states = take(str(run)).states
    measure = Measure("win_rate", "higher", from_ratings=True)
    expected = State(measure, "human:x", "other", 0.5, 0.4, 0.6, "Student t")
    assert states["win_rate@human:x"] == expected
    assert states.keys() - take(str(run), ["fid"]).states.keys() == {"clip_score", "precision"}


def under(**conditions: Any) -> Snapshot:
    return Snapshot("run:m", "m", {"a": "a cat"}, {"a": ""}, conditions, {}, "0")


@pytest.mark.parametrize(
    ("one", "other", "differ", "open_"),
    [
        ({"seed": 1}, {"seed": 1}, [], []),
        ({"seed": 1}, {"seed": 2}, [("seed", "1", "2")], []),
        ({"seed": 1}, {}, [], [("seed", "1", "not recorded")]),
        (
            {"generation": {"steps": 20, "guidance": 3}},
            {"generation": {"guidance": 3}},
            [("generation.steps", "20", "not set")],
            [],
        ),
        (
            {"generation": {"guidance": 3}},
            {"generation": {"steps": 20, "guidance": 3}},
            [("generation.steps", "not set", "20")],
            [],
        ),
        (  # what is given is what the other one uses by default
            {"generation": {"steps": 20}, "settings": {"steps": 20}},
            {"settings": {"steps": 20, "guidance": 3}},
            [],
            [],
        ),
        ({"encoders": {"clip": "a", "pool": "b"}}, {"encoders": {"clip": "a"}}, [], []),
        (
            {"encoders": {"clip": "a"}, "image_size": ["1x1"]},
            {"encoders": {"clip": "c"}, "image_size": ["2x2"]},
            [("image_size", "1x1", "2x2"), ("encoders.clip", "a", "c")],
            [],
        ),
    ],
)
def test_conditions_are_compared_field_by_field(
    one: dict[str, Any], other: dict[str, Any], differ: list[tuple], open_: list[tuple]
) -> None:
    sides = under(**one), under(**other)
    assert mismatches(*sides) == [Mismatch(*fields) for fields in differ]
    assert unchecked(*sides) == [Mismatch(*fields) for fields in open_]


def test_of_many_sizes_those_are_named_that_the_other_one_lacks() -> None:
    sizes = [f"{at}x9" for at in range(12)]
    [found] = mismatches(under(image_size=sizes), under(image_size=sizes[:-5]))
    assert found.candidate == "12 values, 7x9, 8x9, 9x9 and 2 more only here"
    assert found.baseline == "7 values, all of them in the other one"


def test_a_refusal_names_each_field_that_would_have_to_be_allowed_once() -> None:
    found = [Mismatch(field, "a", "b") for field in ("encoders.clip", "encoders.pool", "seed")]
    with pytest.raises(EvalkitError, match=r"encoders\.clip: a, baseline b; encoders") as error:
        require_comparable(found, ())
    assert error.value.exit_code == 4
    assert error.value.hint.endswith("`--allow-mismatch encoders --allow-mismatch seed`.")
    require_comparable(found, ("encoders", "seed"))
    with pytest.raises(EvalkitError, match=r"not comparable\. encoders\.pool: a, baseline b\."):
        require_comparable(found, ("encoders.clip", "seed"))
