"""Scorers that cannot be loaded: wrong options end the command before anything is made, and what a
machine lacks is said in the rows.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from scorers_for_tests import FAULT
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import (
    EvalkitError,
    FailedMetricWarning,
    NothingMeasuredWarning,
    StoppedScorerWarning,
)
from evalkit.encoders.weight_files import FILES
from evalkit.results import Run

PROMPTS = ["a red circle", "a dog"]
OWN = "scorers_for_tests:"


@pytest.mark.parametrize(
    ("metric", "options", "message"),
    [
        ("geneval", {"detector": "foo"}, "geneval: GenEval has no detector 'foo'"),
        ("geneval", {"model": "no/where"}, "geneval: The model 'no/where' is not in the hub's"),
        ("soft_tifa", {"model": "m/m", "questions": "gone.csv"}, "no file of questions gone.csv"),
        ("soft_tifa", {"model": "m/m", "questions": "damaged.jsonl"}, "soft_tifa: Line 1 of"),
        ("vqa_score", {"model": "m/m", "template": "foo"}, "vqa_score: The option template is"),
        ("vqa_score", {"model": "m/m", "base_url": "x"}, "vqa_score: base_url is not usable"),
        ("pickscore", {"convention": "foo"}, "pickscore has no convention 'foo'"),
        ("classifier", {"model": "./gone", "label": "x"}, "There is no folder './gone'"),
        ("geneval_results", {"file": "gone.jsonl"}, "The results gone.jsonl cannot be read"),
    ],
)
def test_wrong_values_of_options_are_refused_before_images_are_made(
    metric: str,
    options: dict[str, str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("damaged.jsonl").write_text("x\n")
    with pytest.raises(EvalkitError) as raised:
        evalkit.run(
            "noise", PROMPTS, metrics=[metric, "refusal_rate", f"{OWN}LENGTH"], out="run",
            options={metric: options},
        )  # fmt: skip
    assert message in raised.value.message
    assert raised.value.hint
    assert not Path("run").exists()


def test_a_refused_option_leaves_a_scored_run_as_it_was(tmp_path: Path) -> None:
    run = evalkit.run("noise", PROMPTS, metrics=[f"{OWN}LENGTH"], out=tmp_path / "run")
    files = run.metrics_path, run.config_path, run.comparisons_path
    before = [path.read_bytes() if path.exists() else b"" for path in files]
    options = {"geneval": {"detector": "foo"}}
    with pytest.raises(EvalkitError, match="has no detector 'foo'"):
        evalkit.score(run.path, metrics="geneval", options=options)
    assert [path.read_bytes() if path.exists() else b"" for path in files] == before


def test_damaged_weights_of_a_scorer_are_refused_and_missing_ones_are_not(
    empty_caches: Path, tmp_path: Path
) -> None:
    run = evalkit.generate("noise", PROMPTS, out=tmp_path / "run")
    rows = evalkit.score(run.path, metrics=f"hpsv2,{OWN}LENGTH", only=True)
    note = next(row.note for row in rows if row.metric == "hpsv2")
    assert "evalkit weights fetch hpsv2" in note
    path = empty_caches / FILES["hpsv2"].file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"damaged")
    with pytest.raises(EvalkitError, match=r"hpsv2: The weights .* have the SHA-256") as raised:
        evalkit.score(run.path, metrics=f"hpsv2,{OWN}LENGTH", only=True)
    assert "evalkit weights fetch hpsv2" in raised.value.hint


def test_a_scorer_without_its_required_option_is_not_measured(tmp_path: Path) -> None:
    run = evalkit.generate("noise", PROMPTS, out=tmp_path / "run")
    rows = evalkit.score(run.path, metrics=f"vqa_score,{OWN}LENGTH", only=True)
    assert "needs the option 'model'" in next(r.note for r in rows if r.metric == "vqa_score")


def test_a_plug_in_that_loads_something_else_is_a_fault(tmp_path: Path) -> None:
    FAULT[0] = ""
    run: Run = evalkit.generate("noise", PROMPTS, out=tmp_path / "run")
    with pytest.warns(FailedMetricWarning, match="'unnamed' loads an Unnamed; expected"):
        rows = evalkit.score(run.path, metrics=f"{OWN}UNNAMED,{OWN}LENGTH", only=True)
    found = {row.metric: row.value for row in rows}
    assert found["unnamed"] is None
    assert found["length"] is not None


def test_wrong_options_of_a_plug_in_in_run_toml_are_refused(tmp_path: Path) -> None:
    run = evalkit.run("noise", PROMPTS, metrics=[f"{OWN}LENGTH"], out=tmp_path / "run")
    with run.config_path.open("a") as file:
        file.write("[scorer.length]\nfaktor = 2\n")
    with pytest.raises(EvalkitError, match="'length' has no option 'faktor'"):
        evalkit.score(run.path)


@pytest.mark.usefixtures("empty_caches")
def test_a_preset_of_which_nothing_can_be_measured_is_refused_before_images_are_made(
    tmp_path: Path,
) -> None:
    with pytest.raises(EvalkitError, match=r"can be measured: pickscore, hpsv2\.1, "):
        evalkit.run("noise", PROMPTS, metrics="preference", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run = evalkit.run("noise", PROMPTS, metrics=f"{OWN}LENGTH", out=tmp_path / "run")
    before = run.metrics_path.read_bytes()
    with pytest.raises(EvalkitError) as raised:
        evalkit.score(run.path, metrics="preference", only=True)
    for name in ("pickscore", "hpsv2.1", "image_reward", "aesthetic"):
        assert f"evalkit weights fetch {name}`" in raised.value.hint
    assert run.metrics_path.read_bytes() == before


def test_a_scoring_without_any_value_ends_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = evalkit.generate("noise", PROMPTS, out=tmp_path / "run")
    folder = run.image_folder("noise")
    with pytest.warns(NothingMeasuredWarning, match="a folder of images has no prompts"):
        evalkit.score(folder, metrics=f"{OWN}LENGTH")
    done = CliRunner().invoke(app, ["score", str(folder), "--metrics", f"{OWN}LENGTH"])
    assert done.exit_code == 2
    assert (
        "None of the named scorers has a value (length): a folder of images has no prompts."
        in done.stderr
    )
    assert "function" not in done.stderr


def test_a_scorer_that_a_service_stops_ends_the_command_with_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = evalkit.generate("noise", PROMPTS, out="run")
    metrics = f"{OWN}STOPPED,{OWN}LENGTH"
    with pytest.warns(StoppedScorerWarning, match="Run it again tomorrow"):
        evalkit.score(run.path, metrics=metrics, only=True)
    assert len(run.answers_path("noise", "stopped-1").read_text().splitlines()) == 1
    done = CliRunner().invoke(app, ["score", "run"])
    assert done.exit_code == 3, done.stderr
    assert "the quota is used up. Run it again tomorrow." in done.stderr
    assert "function" not in done.stderr


@pytest.mark.usefixtures("empty_caches")
def test_the_metrics_of_the_call_count_and_not_those_which_the_run_has(tmp_path: Path) -> None:
    run = evalkit.run("noise", PROMPTS, metrics=[f"{OWN}LENGTH"], out=tmp_path / "run")
    files = run.metrics_path, run.config_path
    before = [path.read_bytes() for path in files]
    with pytest.raises(EvalkitError, match=r"None of the named scorers can be measured: hpsv2\."):
        evalkit.score(run.path, metrics="hpsv2")
    with pytest.raises(EvalkitError, match=r"can be measured: soft_tifa\.") as raised:
        evalkit.score(run.path, metrics="soft_tifa")
    assert "needs the option 'model'" in raised.value.hint
    with pytest.raises(EvalkitError, match=r"can be measured: hpsv2\."):
        evalkit.run("noise", metrics="hpsv2", out=run.path)
    assert [path.read_bytes() for path in files] == before
    FAULT[0] = "later"
    with pytest.warns(NothingMeasuredWarning, match=r"value \(unsure\)"):
        evalkit.score(run.path, metrics=f"{OWN}UNSURE")
    FAULT[0] = ""


@pytest.mark.usefixtures("empty_caches")
def test_run_keeps_no_metric_that_cannot_be_measured_either(tmp_path: Path) -> None:
    options = {"hpsv2": {"convention": "cosine"}}
    metrics = f"hpsv2,{OWN}LENGTH"
    run = evalkit.run("noise", PROMPTS, metrics=metrics, options=options, out=tmp_path / "run")
    named = {row.metric: row for row in evalkit.load(run.path).metrics()}
    assert named["hpsv2"].note.startswith("not measured")
    config = tomllib.loads(run.config_path.read_text())
    assert config["metrics"] == [f"{OWN}LENGTH"]
    assert "scorer" not in config
    assert "hpsv2" not in {row.metric for row in evalkit.score(run.path)}


@pytest.mark.usefixtures("empty_caches")
def test_a_metric_that_cannot_be_measured_is_not_added_to_the_run(tmp_path: Path) -> None:
    run = evalkit.run("noise", PROMPTS, metrics=[f"{OWN}LENGTH"], out=tmp_path / "run")
    options = {"hpsv2": {"convention": "cosine"}}
    rows = evalkit.score(run.path, metrics=f"hpsv2,{OWN}WIDTH", options=options)
    assert next(row for row in rows if row.metric == "hpsv2").value is None
    config = tomllib.loads(run.config_path.read_text())
    assert config["metrics"] == [f"{OWN}LENGTH", f"{OWN}WIDTH"]
    assert "scorer" not in config
    again = {row.metric for row in evalkit.score(run.path)}
    assert {"length", "width"} < again
    assert "hpsv2" not in again
