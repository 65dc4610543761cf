"""`evalkit rate export`: all answers in one table, as they are or safe for a spreadsheet."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratings_for_tests import make_run, preference, vote
from strategies_for_tests import NASTY
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.escape import spreadsheet_cell, without_guard
from evalkit.ratings.files import append_ratings
from evalkit.ratings.rating import COLUMNS, pair
from evalkit.ratings.study_file import write_study
from evalkit.run_folder import Run

FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "  =1",
    "\u00a0@x",
    " \t=1",
    "\n=1",
    "\u2003-1",
]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = make_run(tmp_path / "run", models=("a", "=b"))
    write_study(run, preference(("a", "=b")))
    item = pair("00000", "a", "=b")
    append_ratings(
        run.rater_path("r1"), [vote(item=item), vote(item=item, response="=b", revision=1)]
    )
    append_ratings(run.rater_path("r2"), [vote("r2", item=item, response="tie", kind="model")])
    run.private_path.write_text('{"secret": "5ec2e7"}', encoding="utf-8")
    return run


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_the_command_writes_one_row_per_answer(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out" / "ratings.csv"
    said = CliRunner().invoke(app, ["rate", "export", str(run.path), "--out", str(out)])
    assert (said.exit_code, said.stdout) == (0, f"{out}\n")
    found = rows(out.read_text(encoding="utf-8"))
    assert list(found[0]) == list(COLUMNS)
    assert [(row["rater"], row["response"], row["kind"]) for row in found] == [
        ("r1", "=b", "human"),
        ("r2", "tie", "model"),
    ]
    assert "5ec2e7" not in out.read_text(encoding="utf-8")


def test_earlier_revisions_are_exported_on_request(run: Run, tmp_path: Path) -> None:
    path = evalkit.rate_export(run.path, out=tmp_path / "x.csv", history=True)
    assert [row["revision"] for row in rows(path.read_text(encoding="utf-8"))] == ["0", "1", "0"]


def test_json_has_studies_and_ratings(run: Run, tmp_path: Path) -> None:
    path = evalkit.rate_export(run.path, out=tmp_path / "x.json", format="json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert [study["study"] for study in found["studies"]] == ["preference"]
    assert [list(row) for row in found["ratings"]] == [list(COLUMNS)] * 2
    assert "5ec2e7" not in path.read_text(encoding="utf-8")


def test_no_cell_of_a_spreadsheet_is_a_formula(run: Run, tmp_path: Path) -> None:
    path = evalkit.rate_export(run.path, out=tmp_path / "x.csv", spreadsheet=True)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    [first, _] = rows(path.read_text(encoding="utf-8-sig"))
    assert first["response"] == "'=b"
    assert first["item"] == "00000:a:=b"


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_runs_is_guarded(text: str) -> None:
    assert spreadsheet_cell(text) == f"'{text}"


@given(NASTY | st.sampled_from(FORMULAS))
def test_a_guarded_cell_is_safe_and_keeps_its_text(text: str) -> None:
    """At least as strict as defusedcsv's rule (`_escape` in its csv.py): a first character of these
    is guarded, and with us also after blanks, and for numbers."""
    cell = spreadsheet_cell(text)
    assert not re.match(r"\s*[=+@|%-]", cell)
    assert not cell.startswith(("\t", "\r"))
    assert cell == text or without_guard(cell) == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "xlsx"}, "expected csv or json"),
        ({"format": "json", "spreadsheet": True}, "a spreadsheet opens csv only"),
    ],
)
def test_wrong_options(run: Run, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(EvalkitError, match=message):
        evalkit.rate_export(run.path, out=tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()


def test_a_run_without_ratings_and_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="has no ratings"):
        evalkit.rate_export(make_run(tmp_path / "run").path, out=tmp_path / "x.csv")
    with pytest.raises(EvalkitError, match="is not a run folder"):
        evalkit.rate_export(tmp_path, out=tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()


def test_an_export_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(EvalkitError, match="Could not write"):
        evalkit.rate_export(run.path, out=tmp_path / "file" / "x.csv")


def test_the_files_of_the_run_stay_as_they_are(run: Run, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    evalkit.rate_export(run.path, out=tmp_path / "x.csv")
    assert before == {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
