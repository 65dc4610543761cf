"""The tables as files: a selection of models and metrics, CSV with all digits, BibTeX."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import shlex
import shutil
import subprocess
from importlib.metadata import entry_points

import pytest
from latex_documents import complaints, needs_latex
from many_values import values_run
from typer.testing import CliRunner

from evalkit import plugins
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.report.bibtex import cited, to_bibtex
from evalkit.report.facts import read_facts
from evalkit.report.preprocessing import RESIZE
from evalkit.report.tables import select, tables
from evalkit.run_folder import Run

METRICS = ["fid", "kid", "clip_score"]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of three models, three metrics and two groups of prompts."""
    folder = tmp_path_factory.mktemp("three") / "run"
    return values_run(folder, ["a", "=b", "c"], METRICS, ["one", "two"])


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_all_files(three):
    made = tables(three.path)
    assert [path.name for path in made] == sorted(
        [f"{name}.{kind}" for name in ("metrics", "groups", "differences", "outcomes")
         for kind in ("csv", "tex")] + ["evalkit.bib"]
    )  # fmt: skip
    assert {path.parent for path in made} == {three.report_path / "tables"}


def test_the_command_selects_models_and_metrics_in_the_given_order(three, tmp_path):
    out = tmp_path / "paper"
    options = ["--columns", "c,a", "--metrics", "kid,fid", "--width", "icml", "--out", str(out)]
    done = CliRunner().invoke(app, ["tables", str(three.path), *options])
    assert done.exit_code == 0, done.stderr
    assert [line.rsplit("/", 1)[-1] for line in done.stdout.splitlines()] == [
        "differences.csv", "differences.tex", "evalkit.bib", "groups.csv", "metrics.csv",
        "metrics.tex", "outcomes.csv", "outcomes.tex",
    ]  # fmt: skip
    text = (out / "metrics.tex").read_text("utf-8")
    assert re.search(r"^Model & \{KID .*\{FID ", text, re.MULTILINE)
    assert re.findall(r"^([ac]) &", text, re.MULTILINE) == ["c", "a"]
    assert "CLIP" not in text
    assert "=b" not in text
    found = rows((out / "metrics.csv").read_text("utf-8"))
    assert {(row["model"], row["metric"]) for row in found} == {
        (model, metric) for model in "ac" for metric in ("fid", "kid")
    }
    pairs = rows((out / "differences.csv").read_text("utf-8"))
    assert {(row["model_a"], row["model_b"]) for row in pairs} == {("a", "c")}


@pytest.mark.parametrize(
    ("wrong", "said", "hint"),
    [
        ({"columns": ["a", "d"]}, "no model 'd'; it has a, =b, c", "--columns"),
        ({"metrics": ["fd"]}, "no metric 'fd'; it has fid, kid, clip_score", "'fid'"),
        ({"width": "icm"}, "no width 'icm'; expected one of any, icml", "'icml'"),
    ],
)
def test_unknown_names_are_refused_and_nothing_is_written(three, tmp_path, wrong, said, hint):
    with pytest.raises(EvalkitError, match=said) as raised:
        tables(three.path, out=tmp_path / "out", **wrong)
    assert hint in raised.value.hint
    assert not (tmp_path / "out").exists()


def test_csv_has_every_field_and_digit(three):
    tables(three.path)
    folder = three.report_path / "tables"
    metrics = [row for row in three.metrics() if not row.group]
    found = rows((folder / "metrics.csv").read_text("utf-8"))
    assert len(found) == len(metrics)
    for row, text in zip(metrics, found, strict=True):
        assert set(text) == {field.name for field in dataclasses.fields(row)}
        assert float(text["value"]) == row.value
        assert text["baseline"] == ""
    by_group = [row for row in three.metrics() if row.group]
    assert len(rows((folder / "groups.csv").read_text("utf-8"))) == len(by_group)
    pairs = three.comparisons()
    assert pairs is not None
    differences = rows((folder / "differences.csv").read_text("utf-8"))
    assert [float(row["difference"]) for row in differences] == [p.difference for p in pairs.rows]
    outcomes = rows((folder / "outcomes.csv").read_text("utf-8"))
    assert [(row["requested"], row["ok"], row["refused"]) for row in outcomes] == [
        ("9", "0", "9")
    ] * 3


def test_no_cell_of_text_is_a_formula(three):
    tables(three.path)
    for path in (three.report_path / "tables").glob("*.csv"):
        for row in rows(path.read_text("utf-8")):
            for name, text in row.items():
                assert text[:1] not in ("=", "+", "@"), name
                assert not text.startswith("-") or float(text) < 0
        assert "'=b" in path.read_text("utf-8")


def test_p_values_of_a_selection_are_those_of_the_run(three):
    facts = read_facts(three.path)
    whole = facts.findings[0].comparisons
    some = select(facts, ["a", "c"], ["fid"]).findings[0].comparisons
    assert [pair for pair in whole if {pair.model_a, pair.model_b} == {"a", "c"}] == some


def test_every_metric_with_a_paper_has_a_complete_entry(tmp_path):
    run = values_run(tmp_path / "run", ["a"])
    facts = read_facts(run.path)
    text = to_bibtex(facts.findings, "0.1.0")
    entries = dict(re.findall(r"^@\w+\{([\w-]+),\n(.*?)^\}$", text, re.MULTILINE | re.DOTALL))
    papers = {plugins.metric(name).paper for name in plugins.names("metric")} - {""}
    assert set(re.findall(r"url = \{(.*)\}", text)) == papers
    keys = {key for _, key in cited(facts.findings)}
    assert entries.keys() == keys | {"evalkit"}
    assert not [key for key in keys if key.startswith("metric-")]
    for key in keys:
        for field in ("author", "title", "year"):
            assert re.search(rf"^  {field} = \{{.+\}},?$", entries[key], re.MULTILINE), (key, field)
    assert "note = {Version 0.1.0}" in entries["evalkit"]
    assert text.count("{") == text.count("}")


def test_the_paper_of_an_unknown_metric_has_an_entry_too(three):
    [fid, *_] = read_facts(three.path).findings
    measure = dataclasses.replace(fid.measure, name="own", title="Own_1", paper="https://a.org/p")
    text = to_bibtex([dataclasses.replace(fid, measure=measure)])
    assert r"@misc{metric-own,\n  title = {{Definition of Own\_1}}".replace(r"\n", "\n") in text
    assert "url = {https://a.org/p}" in text


@needs_latex
@pytest.mark.skipif(not shutil.which("bibtex"), reason="bibtex is not installed")
def test_bibtex_reads_the_entries(tmp_path):
    run = values_run(tmp_path / "run", ["a"])
    [bibliography] = [path for path in tables(run.path) if path.suffix == ".bib"]
    shutil.copy(bibliography, tmp_path)
    more = r"\nocite{*}\bibliographystyle{plain}\bibliography{evalkit}"
    assert complaints([], "icml", tmp_path, more) in ([], ["LaTeX Warning: No file paper.bbl."])
    done = subprocess.run(
        ["bibtex", "paper"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "Warning" not in done.stdout, done.stdout
    assert complaints([], "icml", tmp_path, more) == []


def test_every_installed_encoder_says_how_it_resizes():
    installed = {entry.name for entry in entry_points(group="evalkit.encoders")
                 if entry.value.startswith("evalkit.")}  # fmt: skip
    assert installed - set(RESIZE) == {"timm"}  # its networks differ


@pytest.mark.parametrize("given", ["", ",", " , "])
@pytest.mark.parametrize("option", ["--columns", "--metrics"])
def test_an_option_that_names_nothing_is_an_error(three, option, given):
    said = CliRunner().invoke(app, ["tables", str(three.path), option, given])
    assert said.exit_code == 2
    assert f"`{option} {shlex.quote(given)}` names nothing" in said.stderr


def test_a_model_with_a_comma_in_its_label_can_be_chosen(tmp_path):
    facts = read_facts(values_run(tmp_path / "run", ["a,b", "c", "d"]).path)
    assert select(facts, "c, a,b").models == ["c", "a,b"]
    with pytest.raises(EvalkitError, match="no model 'a'"):
        select(facts, "a,c")
