"""`evalkit rate import`: what is taken, what is named, and what nothing happens to."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rating_files import (
    PROMPTS,
    imported,
    rated_run,
    rejected,
    scale_rows,
    table,
    write,
)
from ratings_for_tests import make_run, preference, vote
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.ratings.files import append_ratings, ratings_of, studies
from evalkit.ratings.rating import KNOWN_BAD, Rating, pair, single
from evalkit.ratings.study import SCALES, Study
from evalkit.ratings.study_file import read_study, write_study
from evalkit.run_folder import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return rated_run(tmp_path / "run")


def files(run: Run) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def test_the_command_imports_a_long_table_and_makes_the_study(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "votes.csv", table(scale_rows()))
    said = CliRunner().invoke(app, ["rate", "import", str(path), "--run", str(run.path)])
    assert said.exit_code == 0
    lines = said.stdout.splitlines()
    assert lines[0] == "Read votes.csv (evalkit)."
    assert "The scale of alignment is 1 to 5." in lines
    assert lines[-1] == f"Imported 60 ratings of 3 raters into {run.path}."
    [study] = studies(run)
    assert (study.study, study.mode, study.models) == ("imported", "scale", ("sdxl", "dalle"))
    assert len(study.prompts) == len(PROMPTS)
    assert [question.anchors for question in study.questions] == [("1", "2", "3", "4", "5")]
    found = imported(run)
    assert len(found) == 60
    assert found[0].item == "00000:sdxl"
    assert found[0].kind == "human"
    assert not run.rejected_path.exists()


def test_the_same_file_again_changes_nothing(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "votes.csv", table(scale_rows()))
    evalkit.rate_import(path, run=run.path)
    before = files(run)
    again = evalkit.rate_import(path, run=run.path)
    assert (again.ratings, again.known) == (0, 60)
    assert files(run) == before


def test_a_second_batch_with_other_prompts_fits_the_same_study(run: Run, tmp_path: Path) -> None:
    rows = scale_rows()
    one = write(tmp_path / "one.csv", table(rows[:40]))
    other = write(tmp_path / "other.csv", table(rows[40:]))
    evalkit.rate_import(one, run=run.path)
    made = evalkit.rate_import(other, run=run.path)
    assert (made.ratings, made.new_studies) == (20, ())
    assert len(imported(run)) == 60


BAD = [
    ({"response": "6"}, "response", "outside of the scale; expected 1 to 5"),
    ({"response": "0"}, "response", "outside of the scale; expected 1 to 5"),
    ({"response": "3.5"}, "response", "between two points; expected 1 to 5"),
    ({"response": "3,5"}, "response", "between two points; expected 1 to 5"),
    ({"response": "2026-01-02"}, "response", "a date, which a spreadsheet may have made"),
    ({"response": "1/2"}, "response", "a date, which a spreadsheet may have made"),
    ({"response": "02. Jan"}, "response", "a date, which a spreadsheet may have made"),
    ({"response": "great"}, "response", "expected a number from 1 to 5"),
    ({"prompt_id": "1.2E+15"}, "prompt_id", "a spreadsheet rounded an id"),
    ({"prompt_id": "a horse"}, "prompt_id", "no prompt of the run has this id, text or image"),
    ({"prompt_id": ""}, "prompt_id", "no prompt is named"),
    ({"model": "sdx"}, "model", "no model of the run; did you mean 'sdxl'?"),
    ({"model": ""}, "model", "no model is named"),
    ({"rater": " "}, "rater", "no rater is named"),
    ({"started_at": "yesterday"}, "started_at", "expected a time in ISO 8601"),
    ({"started_at": "2026\n01"}, "started_at", "expected a time in ISO 8601"),
    ({"rater": "R1"}, "rater", "the same rater as 'r1' but for case, blanks or leading"),
    ({"rater": "1.2E+15"}, "rater", "a spreadsheet rounded an id to this number"),
]


@pytest.mark.parametrize(("change", "column", "reason"), BAD)
def test_a_bad_value_is_named_and_nothing_is_imported(
    run: Run, tmp_path: Path, change: dict[str, str], column: str, reason: str
) -> None:
    rows = scale_rows(**dict.fromkeys(change.keys() - scale_rows()[0].keys(), ""))
    rows[25] |= change
    path = write(tmp_path / "votes.csv", table(rows))
    with pytest.raises(EvalkitError, match=r"1 value of .* cannot be imported") as error:
        evalkit.rate_import(path, run=run.path, scale="1-5")
    assert error.value.exit_code == 2
    assert imported(run) == []
    assert studies(run) == []
    [row] = rejected(run)
    assert (row["source_file"], row["line"], row["column"]) == ("votes.csv", "27", column)
    assert row["value"] == next(iter(change.values())).strip()
    assert reason in row["reason"]
    made = evalkit.rate_import(path, run=run.path, scale="1-5", on_bad="skip")
    assert (made.ratings, made.problems) == (59, 1)
    assert len(imported(run)) == 59
    assert len(rejected(run)) == 1


def test_all_problems_at_once_the_first_ones_in_the_terminal(run: Run, tmp_path: Path) -> None:
    rows = scale_rows()
    for row in rows[:30]:
        row["model"] = "unknown"
    path = write(tmp_path / "votes.csv", table(rows))
    said = CliRunner().invoke(app, ["rate", "import", str(path), "--run", str(run.path)])
    assert said.exit_code == 2
    assert said.stdout == ""
    lines = said.stderr.splitlines()
    assert lines[0].startswith("votes.csv, line 2, model: 'unknown': no model of the run")
    assert lines[19].startswith("votes.csv, line 21, model")
    assert lines[20] == "and 10 more"
    assert lines[21].startswith("error: 30 values of 60 rows cannot be imported, so nothing was")
    assert lines[22].startswith("hint: Correct them")
    assert len(rejected(run)) == 30


def test_the_same_row_twice_counts_once_and_is_counted(run: Run, tmp_path: Path) -> None:
    rows = scale_rows()
    path = write(tmp_path / "votes.csv", table([*rows, rows[0], rows[1]]))
    made = evalkit.rate_import(path, run=run.path)
    assert (made.ratings, made.left_out) == (60, {"the same row again": 2})
    assert "Left out: 2 values (the same row again)." in made.sentences()
    assert [row["line"] for row in rejected(run)] == ["62", "63"]


def test_another_answer_to_the_same_item_is_a_problem(run: Run, tmp_path: Path) -> None:
    rows = scale_rows()
    path = write(tmp_path / "votes.csv", table([*rows, rows[0] | {"response": 5}]))
    made = evalkit.rate_import(path, run=run.path, on_bad="skip")
    assert (made.ratings, made.problems) == (60, 1)
    [row] = rejected(run)
    assert row["line"] == "62"
    assert row["reason"].endswith("the first is in line 2 of votes.csv")


def test_another_answer_than_the_run_has_is_a_problem(run: Run, tmp_path: Path) -> None:
    rows = scale_rows()
    evalkit.rate_import(write(tmp_path / "a.csv", table(rows)), run=run.path)
    rows[0]["response"] = 5
    with pytest.raises(EvalkitError, match="1 value"):
        evalkit.rate_import(write(tmp_path / "b.csv", table(rows)), run=run.path)
    assert "the run has the answer '1'" in rejected(run)[0]["reason"]
    assert imported(run)[0].response == "1"


def test_rejected_rows_of_other_files_stay_listed(run: Run, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "b.csv"):
        rows = scale_rows()
        rows[0]["model"] = "other"
        evalkit.rate_import(write(tmp_path / name, table(rows)), run=run.path, on_bad="skip")
    assert [row["source_file"] for row in rejected(run)] == ["a.csv", "b.csv"]


@pytest.mark.parametrize(
    ("spelling", "prompt"),
    [
        (PROMPTS[0], "00000"),
        ("the cafe\u0301\u2019s \u201cmenu\u201d", "00002"),
        ('the café\'s "menu"', "00002"),
        ("the\u00a0café\u2019s  \u201cmenu\u201d ", "00002"),
        ("a cat,\r\nasleep", "00000"),
        ("a &#129427; on a beach", "00003"),
        ("7", "00007"),
        ("00007-0.png", "00007"),
        ("C:\\ratings\\images\\sdxl\\00007-0.png", "00007"),
    ],
)
def test_a_prompt_in_another_spelling_is_found(
    run: Run, tmp_path: Path, spelling: str, prompt: str
) -> None:
    row = {"rater": "r1", "prompt": spelling, "model": "sdxl", "question": "q", "response": "4"}
    path = write(tmp_path / "votes.csv", table([row]))
    evalkit.rate_import(path, run=run.path, scale="1-5")
    assert [rating.prompt_id for rating in imported(run)] == [prompt]


def test_prompts_of_the_same_text_need_ids(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ("a cat", "a cat"), ("sdxl", "dalle"))
    row = {"rater": "r1", "prompt": "a cat", "model": "sdxl", "question": "q", "response": "4"}
    path = write(tmp_path / "votes.csv", table([row]))
    with pytest.raises(EvalkitError):
        evalkit.rate_import(path, run=run.path, scale="1-5")
    assert rejected(run)[0]["reason"] == "2 prompts have this text; give the ids"


def test_models_are_renamed(run: Run, tmp_path: Path) -> None:
    rows = [row | {"model": f"vendor/{row['model']}"} for row in scale_rows()]
    path = write(tmp_path / "votes.csv", table(rows))
    command = ["rate", "import", str(path), "--run", str(run.path)]
    said = CliRunner().invoke(
        app, [*command, "--rename", "vendor/sdxl=sdxl", "--rename", "vendor/dalle=dalle"]
    )
    assert said.exit_code == 0
    assert {rating.model for rating in imported(run)} == {"sdxl", "dalle"}
    said = CliRunner().invoke(app, [*command, "--rename", "sdxl"])
    assert said.exit_code == 2
    assert "expected NAME=LABEL" in said.stderr
    said = CliRunner().invoke(app, [*command, "--rename", "x=sdx"])
    assert said.exit_code == 2
    assert "Did you mean 'sdxl'?" in said.stderr


# --- scales ---
def test_a_scale_from_zero_is_found_and_stored_from_one(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "votes.csv", table(scale_rows(low=0)))
    made = evalkit.rate_import(path, run=run.path)
    assert "The scale of alignment is 0 to 4." in made.notes
    [study] = studies(run)
    assert study.questions[0].anchors == ("0", "1", "2", "3", "4")
    assert {rating.response for rating in imported(run)} == set("12345")


def test_values_that_do_not_say_the_scale_need_it_stated(run: Run, tmp_path: Path) -> None:
    rows = [row | {"response": min(4, row["response"])} for row in scale_rows()]
    path = write(tmp_path / "votes.csv", table(rows))
    with pytest.raises(
        EvalkitError, match=r"in votes\.csv are from 1 to 4, which does not"
    ) as error:
        evalkit.rate_import(path, run=run.path)
    assert "scale" in error.value.hint
    assert not run.ratings_path.exists()
    made = evalkit.rate_import(path, run=run.path, scale="1-5")
    assert made.ratings == 60
    with pytest.raises(EvalkitError, match="cannot be imported"):
        evalkit.rate_import(path, run=run.path, scale="1-7")


@pytest.mark.parametrize("by", ["rater", "file"])
def test_a_mixture_of_scales_is_named(run: Run, tmp_path: Path, by: str) -> None:
    one = write(tmp_path / "one.csv", table(scale_rows(("r1", "r2"))))
    zero = write(tmp_path / "zero.csv", table(scale_rows(("r3",), low=0)))
    mixed = write(tmp_path / "all.csv", table([*scale_rows(("r1", "r2")), *scale_rows(("r3",), 0)]))
    with pytest.raises(EvalkitError, match="mix two scales") as error:
        evalkit.rate_import([mixed] if by == "rater" else [one, zero], run=run.path)
    expected = "raters r3 use 0 to 4, and r1, r2 use 1 to 5"
    if by == "file":
        expected = "files zero.csv use 0 to 4, and one.csv use 1 to 5"
    assert expected in error.value.message
    assert imported(run) == []


def test_a_reversed_scale_is_named_and_flipped_on_request(run: Run, tmp_path: Path) -> None:
    rows = scale_rows(("r1", "r2", "r3", "r4"))
    for row in rows:
        if row["rater"] == "r3":
            row["response"] = 6 - int(str(row["response"]))
    path = write(tmp_path / "votes.csv", table(rows))
    with pytest.raises(EvalkitError, match="cannot be imported"):
        evalkit.rate_import(path, run=run.path)
    rows = rejected(run)
    assert len(rows) == 20
    assert (
        "the scale of r3 seems reversed: its correlation with others is -1.00"
        in (rows[0]["reason"])
    )
    assert imported(run) == []
    kept = shutil.copytree(run.path, tmp_path / "kept")
    evalkit.rate_import(path, run=kept, reversed_scales="keep")
    assert len({r.response for r in ratings_of(Run(kept)) if r.item == "00000:sdxl"}) == 2
    made = evalkit.rate_import(path, run=run.path, reversed_scales="flip")
    assert any("it is flipped" in note for note in made.notes)
    assert {r.response for r in imported(run) if r.item == "00000:sdxl"} == {"1"}


def test_two_files_that_contradict_each_other_are_named(run: Run, tmp_path: Path) -> None:
    reverse = scale_rows(("r4", "r5"))
    for row in reverse:
        row["response"] = 6 - int(str(row["response"]))
    paths = [
        write(tmp_path / "one.csv", table(scale_rows(("r1", "r2")))),
        write(tmp_path / "two.csv", table(reverse)),
    ]
    for choice in ("refuse", "flip"):
        with pytest.raises(EvalkitError, match=r"files one\.csv and two\.csv contradict .*-1\.00"):
            evalkit.rate_import(paths, run=run.path, reversed_scales=choice)
    assert imported(run) == []
    assert evalkit.rate_import(paths, run=run.path, reversed_scales="keep").ratings == 80


def test_words_of_the_scale_are_numbers(run: Run, tmp_path: Path) -> None:
    rows = scale_rows()
    for row in rows:
        row["response"] = f" {SCALES[0].anchors[int(str(row['response'])) - 1].upper()}"
    evalkit.rate_import(write(tmp_path / "votes.csv", table(rows)), run=run.path)
    assert [rating.response for rating in imported(run)][:5] == ["1", "2", "2", "3", "3"]
    assert studies(run)[0].questions[0].anchors == SCALES[0].anchors


def test_yes_and_no_are_a_checklist(run: Run, tmp_path: Path) -> None:
    rows = [row | {"response": "YES" if row["model"] == "sdxl" else "no"} for row in scale_rows()]
    evalkit.rate_import(write(tmp_path / "votes.csv", table(rows)), run=run.path)
    assert studies(run)[0].mode == "checklist"
    assert {(r.model, r.response) for r in imported(run)} == {("sdxl", "yes"), ("dalle", "no")}


def test_questions_of_two_modes_are_two_studies(run: Run, tmp_path: Path) -> None:
    rows = scale_rows() + [row | {"question": "objects", "response": "yes"} for row in scale_rows()]
    made = evalkit.rate_import(write(tmp_path / "votes.csv", table(rows)), run=run.path)
    assert made.new_studies == ("imported-scale", "imported-checklist")


def test_questions_can_be_ignored(run: Run, tmp_path: Path) -> None:
    comments = [row | {"question": "comments", "response": "nice"} for row in scale_rows()]
    path = write(tmp_path / "votes.csv", table([*scale_rows(), *comments]))
    made = evalkit.rate_import(path, run=run.path, ignore=["comments"])
    assert made.left_out == {"ignored question": 60}
    assert len(rejected(run)) == 60
    assert {rating.question for rating in imported(run)} == {"alignment"}


def test_unanswered_questions_are_left_out_and_counted(run: Run, tmp_path: Path) -> None:
    rows = scale_rows()
    for row in rows[3:5]:
        row["response"] = " "
    made = evalkit.rate_import(write(tmp_path / "votes.csv", table(rows)), run=run.path)
    assert (made.ratings, made.left_out) == (58, {"no answer": 2})
    assert [(row["line"], row["column"]) for row in rejected(run)] == [
        ("5", "response"),
        ("6", "response"),
    ]


def test_half_finished_raters_are_named(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "votes.csv", table(scale_rows()[:45]))
    made = evalkit.rate_import(path, run=run.path)
    assert "Raters with fewer than half of the usual 20 answers: r3 (5)." in made.notes


# --- files as spreadsheets and tools write them ---
ENCODINGS = [
    ("utf-8-sig", ",", ""),
    ("utf-16", "\t", ""),
    ("utf-16-le", ",", ""),
    ("cp1252", ";", "votes.csv is not UTF-8; it is read as Windows-1252."),
]


@pytest.mark.parametrize(("encoding", "delimiter", "note"), ENCODINGS)
def test_encodings_and_separators(
    run: Run, tmp_path: Path, encoding: str, delimiter: str, note: str
) -> None:
    rows = [row | {"response": f"{row['response']},0", "extra": "é"} for row in scale_rows()]
    path = write(tmp_path / "votes.csv", table(rows, delimiter), encoding)
    made = evalkit.rate_import(path, run=run.path)
    assert made.ratings == 60
    assert ([item for item in made.notes if "UTF-8" in item] or [""]) == [note]


def test_trailing_empty_columns_and_blank_lines(run: Run, tmp_path: Path) -> None:
    lines = table(scale_rows()).splitlines()
    text = "\r\n".join(f"{line},," for line in lines) + "\r\n,,,,,,\r\n\r\n"
    assert evalkit.rate_import(write(tmp_path / "v.csv", text), run=run.path).ratings == 60


def test_a_row_with_other_fields_is_named_with_its_line(run: Run, tmp_path: Path) -> None:
    lines = table(scale_rows()).splitlines()
    lines[3], lines[7] = lines[3].rpartition(",")[0], f"{lines[7]},more"
    path = write(tmp_path / "v.csv", "\n".join(lines))
    evalkit.rate_import(path, run=run.path, on_bad="skip")
    assert [(row["line"], row["reason"]) for row in rejected(run)] == [
        ("4", "4 fields; expected 5"),
        ("8", "6 fields; expected 5"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04rest", "is an Excel workbook"),
        (b"rater,rater,response\n", "has the column 'rater' more than once"),
        (b'a,b\n"open', "The record at line 2 of .* is not valid CSV"),
        (b"a,b\n\x81\xff", "is neither UTF-8, UTF-16 nor Windows-1252"),
        (b"a,b\n\x00\xe9\x01", "is a binary file"),
        (b'[{"a": 1]', "is not valid JSON"),
        (b"name,age\nx,1\n", "has no known format of ratings; it has 'name', 'age'"),
        (b'{"name": 1}', "has no known format of ratings; it has 'name'"),
    ],
)
def test_files_that_are_no_ratings(run: Run, tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "v.csv", content)
    before = files(run)
    with pytest.raises(EvalkitError, match=message) as error:
        evalkit.rate_import(path, run=run.path)
    assert error.value.hint
    assert files(run) == before


def test_the_error_of_an_unknown_format_lists_the_known_ones(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "v.csv", "name,age\nx,1\n")
    with pytest.raises(EvalkitError) as error:
        evalkit.rate_import(path, run=run.path)
    for name in ("evalkit", "mturk", "label-studio", "imagenhub", "arena", "rapidata", "appen"):
        assert f"{name}:" in error.value.hint
    assert "columns rater, prompt (or prompt_id), model, question" in error.value.hint
    assert "docs/ratings/imports.md" in error.value.hint
    assert "winner`" not in error.value.hint
    pairs = write(tmp_path / "pairs.csv", "prompt_id,model_a,model_b,response\n0,a,b,a\n")
    with pytest.raises(EvalkitError) as error:
        evalkit.rate_import(pairs, run=run.path)
    assert error.value.hint.startswith("Name the column with the answer to each pair `winner`.")
    with pytest.raises(EvalkitError, match="is an Excel workbook") as error:
        evalkit.rate_import(write(tmp_path / "v.xlsx", b"PK\3\4"), run=run.path)
    assert error.value.hint.startswith("Save it as CSV in UTF-8: a table with one row per answer")
    with pytest.raises(EvalkitError, match="There is no format 'mturks'") as error:
        evalkit.rate_import(path, run=run.path, format="mturks")
    assert error.value.hint == "Did you mean 'mturk'?"


def test_a_huge_field_is_read(run: Run, tmp_path: Path) -> None:
    rows = [row | {"image": "data:" + "A" * 300_000} for row in scale_rows()[:3]]
    path = write(tmp_path / "v.csv", table(rows))
    assert evalkit.rate_import(path, run=run.path, scale="1-5").ratings == 3


def test_wrong_options_and_places(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "v.csv", table(scale_rows()))
    for options, message in (
        ({"run": tmp_path}, "is not a run folder"),
        ({"scale": "5"}, "The scale is '5'"),
        ({"scale": "5-1"}, "The scale is '5-1'"),
        ({"study": "my study"}, "study is 'my study'"),
        ({"kind": "dog"}, "kind is 'dog'"),
        ({"on_bad": "drop"}, "on_bad is 'drop'"),
    ):
        with pytest.raises(EvalkitError, match=message):
            evalkit.rate_import(path, **{"run": run.path} | options)
    with pytest.raises(EvalkitError, match="cannot be read"):
        evalkit.rate_import(tmp_path / "missing.csv", run=run.path)


# --- our own export ---
ITEMS = st.builds(
    Rating,
    study=st.just("preference"),
    rater=st.sampled_from(["r1", "r2", "=r3-x"]).map(lambda name: name.strip("=")),
    kind=st.sampled_from(["human", "model"]),
    item=st.just(pair("00000", "=a", "-b:%")),
    prompt_id=st.just("00000"),
    model=st.just(""),
    question=st.just("preference"),
    response=st.sampled_from(["=a", "-b:%", "tie", "both_bad", "cannot_tell"]),
    shown_left=st.sampled_from(["", "=a", "-b:%"]),
    position=st.integers(0, 99),
    started_at=st.just("2026-01-01T00:00:00.000Z"),
    ms=st.integers(0, 10**6),
    revision=st.integers(0, 3),
    check=st.sampled_from(["", "repeat"]),
)


@given(st.lists(ITEMS, min_size=1, unique_by=lambda r: (r.rater, r.check)), st.booleans())
@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_an_export_is_imported_as_the_same_ratings(
    tmp_path_factory: pytest.TempPathFactory, ratings: list[Rating], spreadsheet: bool
) -> None:
    folder = tmp_path_factory.mktemp("export")
    run = make_run(folder / "run", models=("=a", "-b:%"))
    bare = shutil.copytree(run.path, folder / "bare")
    write_study(run, preference(("=a", "-b:%")))
    append_ratings(run.rater_path("r1"), ratings)
    out = evalkit.rate_export(run.path, out=folder / "x.csv", spreadsheet=spreadsheet)
    evalkit.rate_import(out, run=bare)
    assert sorted(ratings_of(Run(bare)), key=repr) == sorted(ratings_of(run), key=repr)
    made = evalkit.rate_import(out, run=run.path)
    assert made.ratings == 0


def test_an_export_in_json_brings_its_studies(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    bare = Run(shutil.copytree(run.path, tmp_path / "bare"))
    study = dataclasses.replace(preference(), mode="scale", study="looks", questions=SCALES)
    write_study(run, study)
    known_bad = Rating(
        *("looks", "r1", "human", single("00001", "b"), "00001", "b", "realism", "1"),
        check="attention",
    )
    write_study(run, preference())
    attention = vote(item=pair("00000", "a", KNOWN_BAD), check="attention")
    answer = dataclasses.replace(known_bad, check="", response="3")
    append_ratings(run.rater_path("r1"), [known_bad, answer, attention, vote(response="tie")])
    out = evalkit.rate_export(run.path, out=tmp_path / "x.json", format="json")
    evalkit.rate_import(out, run=bare.path)
    assert ratings_of(bare) == ratings_of(run)
    assert studies(bare) == studies(run)


def test_another_design_in_an_export_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    other = Run(shutil.copytree(run.path, tmp_path / "other"))
    write_study(run, preference())
    write_study(other, preference(seed=7))
    append_ratings(run.rater_path("r1"), [vote()])
    out = evalkit.rate_export(run.path, out=tmp_path / "x.json", format="json")
    with pytest.raises(EvalkitError, match="another design: seed is 7, not 0"):
        evalkit.rate_import(out, run=other.path)
    assert ratings_of(other) == []


def test_formulas_are_not_run_from_the_list_of_rejected_values(run: Run, tmp_path: Path) -> None:
    rows = scale_rows()
    rows[0]["response"] = "=HYPERLINK(1)"
    rows[1]["model"] = "@x"
    path = write(tmp_path / "votes.csv", table(rows))
    evalkit.rate_import(path, run=run.path, on_bad="skip")
    assert sorted(row["value"] for row in rejected(run)) == ["'=HYPERLINK(1)", "'@x"]


def test_images_of_folders_are_found_by_their_source(tmp_path: Path) -> None:
    run = rated_run(tmp_path / "run")
    for model in ("sdxl", "dalle"):
        own = [
            dataclasses.replace(record, source=f"out/{model}_{record.prompt}.jpg")
            for record in run.records(model)
        ]
        run.append_records(model, own)
    images = [f"https://example.com/x/{model}_00003.jpg" for model in ("sdxl", "dalle")]
    rows = [
        {"question_id": "00003", "model_a": "sdxl", "model_b": "dalle", "winner": "model_a",
         "judge": "u", "image_a": images[0], "image_b": images[1]},
        {"question_id": "00003", "model_a": "sdxl", "model_b": "dalle", "winner": "model_b",
         "judge": "v", "image_a": images[1], "image_b": images[0]},
        {"question_id": "00003", "model_a": "sdxl", "model_b": "dalle", "winner": "model_b",
         "judge": "w", "image_a": "x/sdxl_00003.png", "image_b": images[0]},
    ]  # fmt: skip
    path = write(tmp_path / "battles.json", json.dumps(rows))
    evalkit.rate_import(path, run=run.path, on_bad="skip")
    assert [rating.rater for rating in imported(run)] == ["u"]
    assert [row["reason"] for row in rejected(run)] == [
        "not an image of the model 'sdxl'",
        "no image of the run has this name",
    ]


def test_a_sample_that_no_study_shows_is_named(tmp_path: Path) -> None:
    run = rated_run(tmp_path / "run")
    [record, *_] = run.records("sdxl")
    run.append_records("sdxl", [dataclasses.replace(record, sample=1, file="00000-1.png")])
    row = {"rater": "r1", "prompt": "00000", "model": "sdxl", "question": "q", "response": "yes"}
    answer = {"WorkerId": "w", "AssignmentId": "a", "Input.image": "sdxl/00000-1.png"}
    path = write(tmp_path / "b.csv", table([{**answer, "Answer.q": row["response"]}]))
    with pytest.raises(EvalkitError):
        evalkit.rate_import(path, run=run.path)
    assert rejected(run)[0]["reason"] == "sample 1 of its prompt; ratings are of sample 0"


def test_a_prompt_without_an_image_of_the_model_is_named(tmp_path: Path) -> None:
    run = rated_run(tmp_path / "run")
    run.register_model("late", "late", 3)
    rows = [row | {"model": "late"} for row in scale_rows()[:1]] + scale_rows()[1:]
    path = write(tmp_path / "votes.csv", table(rows))
    with pytest.raises(EvalkitError, match="1 value of 60"):
        evalkit.rate_import(path, run=run.path)
    assert rejected(run)[0]["reason"] == "late has no image for the prompt '00000'"


def test_the_order_of_models_is_that_of_the_export(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    bare = Run(shutil.copytree(run.path, tmp_path / "bare"))
    write_study(run, preference(("b", "a")))
    append_ratings(run.rater_path("r1"), [vote(item=pair("00000", "b", "a"))])
    evalkit.rate_import(evalkit.rate_export(run.path, out=tmp_path / "x.csv"), run=bare.path)
    assert ratings_of(bare) == ratings_of(run)


def test_a_design_that_differs_is_refused(run: Run, tmp_path: Path) -> None:
    write_study(run, preference(("sdxl", "dalle"), study="imported"))
    path = write(tmp_path / "votes.csv", table(scale_rows()))
    with pytest.raises(EvalkitError, match="60 values"):
        evalkit.rate_import(path, run=run.path)
    assert "the study imported has the mode pairwise" in rejected(run)[0]["reason"]
    assert read_study(run, "imported").mode == "pairwise"


def test_votes_of_models_stay_apart(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "votes.csv", table(scale_rows()))
    evalkit.rate_import(path, run=run.path, kind="model")
    assert ratings_of(run, kind="human") == []
    assert len(ratings_of(run, kind="model")) == 60


def test_damaged_exports_name_the_item(run: Run, tmp_path: Path) -> None:
    content = json.dumps({"studies": [{"study": "x"}, 5], "ratings": [5, {"rater": "r"}]})
    with pytest.raises(EvalkitError, match="3 values"):
        evalkit.rate_import(write(tmp_path / "x.json", content), run=run.path)
    assert [(row["line"], row["reason"]) for row in rejected(run)] == [
        ("", "a study of x.json has no mode."),
        ("", "a study of x.json is 5; expected a table."),
        ("item 1", "not an object"),
        ("item 2", "no answer"),
    ]


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_content_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    run = rated_run(folder / "run") if not folder.exists() else Run(folder / "run")
    for head in (b"", b"rater,response,item\n", b"uid,sdxl\n", b'[{"model_a":'):
        path = write(folder / "x.csv", head + content)
        with pytest.raises(EvalkitError):
            evalkit.rate_import(path, run=run.path)


def test_a_model_of_the_same_name_is_another_rater_than_a_person(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "votes.csv", table(scale_rows()))
    evalkit.rate_import(path, run=run.path)
    made = evalkit.rate_import(path, run=run.path, kind="model")
    assert (made.ratings, made.known) == (60, 0)
    kinds = [rating.kind for rating in imported(run)]
    assert (kinds.count("human"), kinds.count("model")) == (60, 60)


def test_a_second_answer_counts_as_one_of_the_values(run: Run, tmp_path: Path) -> None:
    rows = scale_rows()
    path = write(tmp_path / "votes.csv", table([*rows, rows[0] | {"response": 5}]))
    with pytest.raises(EvalkitError, match=r"^1 value of 61 rows cannot"):
        evalkit.rate_import(path, run=run.path)


@pytest.mark.parametrize("anchors", [SCALES[0].anchors, tuple("12345")])
def test_answers_from_0_to_a_study_from_1_are_refused_until_the_scale_is_stated(
    run: Run, tmp_path: Path, anchors: tuple[str, ...]
) -> None:
    question = dataclasses.replace(SCALES[0], anchors=anchors)
    ids = tuple(f"{at:05d}" for at in range(10))
    write_study(run, Study("opinion", "scale", ("sdxl", "dalle"), ids, (question,)))
    path = write(tmp_path / "votes.csv", table(scale_rows(low=0)))
    options = {"run": run.path, "study": "opinion"}
    with pytest.raises(
        EvalkitError, match=r"from 0 to 4; the scale of the study .* 1 to 5"
    ) as error:
        evalkit.rate_import(path, on_bad="skip", **options)
    assert "0-4" in str(error.value)
    evalkit.rate_import(path, scale="0-4", **options)
    assert {rating.response for rating in imported(run)} == set("12345")


def test_a_long_name_of_a_rater_is_cut_in_the_notes(run: Run, tmp_path: Path) -> None:
    rows = [row | {"rater": "x" * 10**6} if at < 3 else row for at, row in enumerate(scale_rows())]
    made = evalkit.rate_import(write(tmp_path / "votes.csv", table(rows)), run=run.path)
    assert max(map(len, made.notes)) < 300


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PROMPTS[1], "the id '00000' is of another prompt"),
        ("a zebra", "no prompt of the run has this text; '00000' is of another one, or of another"),
    ],
)
@pytest.mark.parametrize("item", ["", "00000:sdxl"])
def test_an_id_and_a_text_must_agree(
    run: Run, tmp_path: Path, text: str, reason: str, item: str
) -> None:
    rows = [row | {"prompt": PROMPTS[int(str(row["prompt_id"]))]} for row in scale_rows()]
    rows = [row | {"item": f"{row['prompt_id']}:{row['model']}" if item else ""} for row in rows]
    assert evalkit.rate_import(write(tmp_path / "a.csv", table(rows)), run=run.path).ratings == 60
    rows[0]["prompt"] = text
    with pytest.raises(EvalkitError, match="1 value of 60"):
        evalkit.rate_import(write(tmp_path / "b.csv", table(rows)), run=run.path)
    [row] = rejected(run)
    assert (row["line"], row["column"], row["value"]) == ("2", "prompt", text)
    assert row["reason"].startswith(reason)


def test_problems_of_all_kinds_are_listed_in_the_order_of_the_file(
    run: Run, tmp_path: Path
) -> None:
    rows = scale_rows()
    rows[2]["response"], rows[4]["model"], rows[12]["rater"] = "9", "unknown", ""
    with pytest.raises(EvalkitError, match="3 values of 60 rows"):
        evalkit.rate_import(write(tmp_path / "v.csv", table(rows)), run=run.path, scale="1-5")
    assert [row["line"] for row in rejected(run)] == ["4", "6", "14"]


def test_columns_in_another_case_and_columns_that_are_not_read(run: Run, tmp_path: Path) -> None:
    names = {"prompt_id": "Prompt ID", "model": "Model "}
    rows = [
        {names.get(key, key.title()): value for key, value in row.items()} | {"Age": 30, "why": ""}
        for row in scale_rows()
    ]
    made = evalkit.rate_import(write(tmp_path / "v.csv", table(rows)), run=run.path)
    assert made.ratings == 60
    assert "v.csv: not read are the columns Age, why." in made.notes


@pytest.mark.parametrize("value", ["7", "10"])
def test_one_answer_above_all_others_does_not_decide_the_scale(
    run: Run, tmp_path: Path, value: str
) -> None:
    rows = scale_rows()
    rows[9]["response"] = value
    path = write(tmp_path / "v.csv", table(rows))
    with pytest.raises(EvalkitError) as error:
        evalkit.rate_import(path, run=run.path)
    assert error.value.message == (
        f"1 of 60 answers is above 5 (alignment: v.csv, line 11): a scale from 1 to {value}, or a"
        " mistake."
    )
    assert error.value.hint == f"State it: `--scale 1-5` or `--scale 1-{value}`."
    assert evalkit.rate_import(path, run=run.path, scale=f"1-{value}").ratings == 60


def test_some_answers_above_the_others_are_a_scale_of_seven_points(
    run: Run, tmp_path: Path
) -> None:
    rows = scale_rows()
    rows[9]["response"] = rows[19]["response"] = "7"
    made = evalkit.rate_import(write(tmp_path / "v.csv", table(rows)), run=run.path)
    assert "The scale of alignment is 1 to 7." in made.notes


def test_a_run_is_taken_where_a_path_is(run: Run, tmp_path: Path) -> None:
    votes = write(tmp_path / "votes.csv", table(scale_rows()))
    loaded = evalkit.load(run)
    assert evalkit.rate_import(votes, run=loaded).ratings == 60
    [found] = evalkit.rate_summary(loaded)
    assert found.votes == 60
    assert evalkit.rate_export(loaded, out=tmp_path / "x.csv").is_file()
    assert evalkit.rate_plan(effect=0.5, mode="scale", path=loaded)[0].mode == "scale"
    assert evalkit.report(loaded).is_relative_to(run.path)
    with pytest.raises(EvalkitError, match=str(run.path)):
        evalkit.gate(loaded, baseline=loaded)
