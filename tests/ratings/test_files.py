"""Files of ratings: nothing that was acknowledged is lost, nothing damaged is taken."""

import csv
import dataclasses
import logging
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ratings_for_tests import ANSWERS, preference, vote

from evalkit.core import EvalkitError
from evalkit.ratings.files import append_ratings, rater_id, ratings_of, read_ratings, studies
from evalkit.ratings.rating import COLUMNS, Rating
from evalkit.ratings.study_file import write_study
from evalkit.run_folder import Run


@given(st.lists(ANSWERS, min_size=1, max_size=5))
@settings(deadline=None)
def test_rows_are_read_as_they_were_appended(answers: list[Rating]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings/r1.csv"
        for answer in answers:
            append_ratings(path, [answer])
        assert read_ratings(path) == (answers, [])
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        assert [list(row) for row in rows] == [list(COLUMNS)] * len(answers)
        assert [row["item"] for row in rows] == [answer.item for answer in answers]


@given(st.lists(ANSWERS, min_size=1, max_size=3), ANSWERS, st.data())
@settings(deadline=None)
def test_a_row_that_a_kill_cut_short_is_never_taken_for_another_one(
    answers: list[Rating], later: Rating, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r1.csv"
        append_ratings(path, answers)
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole) - 1))
        path.write_bytes(whole[:cut])
        complete = max(0, whole[:cut].count(b"\n") - 1)
        torn = whole[cut - 1 : cut] not in (b"", b"\n")
        found, damaged = read_ratings(path)
        assert found == answers[:complete]
        assert len(damaged) == torn
        append_ratings(path, [later])
        found, damaged = read_ratings(path)
        assert found == [*answers[:complete], later]
        assert len(damaged) == torn
        assert b"\n".join(path.read_bytes().split(b"\n")[:3]).count(b"study,rater,kind") >= 1


def test_a_full_disk_leaves_no_part_of_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r1.csv"
    append_ratings(path, [vote()])
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(EvalkitError, match="No space left"):
        append_ratings(path, [vote(response="b", revision=1)])
    assert path.read_bytes() == before


def test_a_line_break_in_a_field_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="line break"):
        append_ratings(tmp_path / "r1.csv", [vote(response="a\nb")])
    assert not (tmp_path / "r1.csv").exists()


def test_the_latest_revision_of_all_files_counts(tmp_path: Path) -> None:
    run = Run(tmp_path)
    first, changed = vote(), vote(response="b", revision=1)
    repeat = vote(check="repeat")
    other = vote(rater="r2", kind="model")
    append_ratings(run.rater_path("r1"), [first, changed, repeat])
    append_ratings(run.rater_path("r2"), [other])
    append_ratings(run.rater_path("import-x-01234567"), [other])  # the same row in two files
    run.rejected_path.write_text("source file,line,column,value,reason\n", encoding="utf-8")
    assert ratings_of(run) == [other, changed, repeat]
    assert ratings_of(run, history=True) == [other, first, changed, repeat]
    assert ratings_of(run, kind="human") == [changed, repeat]
    assert ratings_of(run, study="other") == []


def test_damaged_lines_are_counted_and_named_in_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path)
    append_ratings(run.rater_path("r1"), [vote()])
    lines = [
        "preference,r1",
        dataclasses.astuple(vote(kind="dog")),  # pyright: ignore[reportArgumentType]
        dataclasses.astuple(vote(ms="3.5")),  # pyright: ignore[reportArgumentType]
        dataclasses.astuple(vote(rater="")),
        'preference,"r1',
    ]
    with run.rater_path("r1").open("a", encoding="utf-8") as file:
        for line in lines:
            file.write((line if isinstance(line, str) else ",".join(map(str, line))) + "\n")
    append_ratings(run.rater_path("r1"), [vote(prompt="00001")])
    with caplog.at_level(logging.WARNING):
        assert ratings_of(run) == [vote(), vote(prompt="00001")]
    [record] = caplog.records
    text = record.getMessage()
    assert text.startswith("5 damaged lines of ratings skipped: line 3 of r1.csv: 2 fields")
    for part in ("kind is 'dog'", "ms is '3.5'", "rater is empty", "not a row of a table"):
        assert part in text


def test_a_file_that_a_spreadsheet_wrote_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.ratings_path.mkdir()
    run.rater_path("r1").write_text("study;rater\npreference;r1\n", encoding="utf-8")
    with pytest.raises(EvalkitError, match=r"r1\.csv begins with 'study;rater'") as error:
        ratings_of(run)
    assert "rate import" in error.value.hint


@pytest.mark.parametrize("name", ["r1", "A-b_9", "x" * 64])
def test_a_plain_name_is_its_id(name: str) -> None:
    assert rater_id(name) == name


@given(st.text(max_size=80))
def test_every_name_has_an_id_that_can_be_a_file(name: str) -> None:
    found = rater_id(name)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", found)
    assert found.lower() not in ("rejected", "private")
    assert rater_id(found) == found


def test_different_names_have_different_ids() -> None:
    names = ["Anna B", "Anna-B", "anna b", "Änna", "Önna", "", " ", "rejected", "Private"]
    assert len({rater_id(name) for name in names}) == len(names)


def test_a_mail_address_is_not_part_of_the_id() -> None:
    assert re.fullmatch(r"rater-[0-9a-f]{8}", rater_id("jane.doe@example.com"))


def test_the_studies_of_a_run_by_name(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert studies(run) == []
    assert ratings_of(run) == []
    made = [write_study(run, preference(study=name)) for name in ("zebra", "apple")]
    assert studies(run) == made[::-1]
