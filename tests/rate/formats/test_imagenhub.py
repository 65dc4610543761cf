"""ImagenHub's tables: one file per rater, two scores per cell."""

import dataclasses
from pathlib import Path

import pytest
from rating_files import imported, rated_run, rejected, write

import evalkit
from evalkit.core import EvalkitError
from evalkit.ratings.files import studies
from evalkit.run_folder import Run

TABLE = "uid\tsdxl\tDALLE\n00000\t[1,1]\t[0.5, 1]\n00001.jpg\t[0,0.5]\t[0,0]\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return rated_run(tmp_path / "run")


def test_cells_are_two_scores_of_three_points(run: Run, tmp_path: Path) -> None:
    paths = [write(tmp_path / f"Text-To-Image_rater{at}.tsv", TABLE) for at in (1, 2)]
    made = evalkit.rate_import(paths, run=run.path, study="imagenhub")
    assert set(made.formats.values()) == {"imagenhub"}
    assert made.ratings == 16
    [study] = studies(run)
    assert {question.name: question.anchors for question in study.questions} == {
        "semantic_consistency": ("0", "0.5", "1"),
        "perceptual_quality": ("0", "0.5", "1"),
    }
    found = imported(run)
    assert {rating.rater for rating in found} == {"rater1", "rater2"}
    assert [(r.item, r.question[:8], r.response) for r in found[2:5]] == [
        ("00000:dalle", "semantic", "2"),
        ("00000:dalle", "perceptu", "3"),
        ("00001:sdxl", "semantic", "1"),
    ]


def test_other_cells_are_named(run: Run, tmp_path: Path) -> None:
    text = TABLE.replace("[0,0.5]", "[0,0.7]").replace("[1,1]", "").replace("[0,0]", "0")
    path = write(tmp_path / "x_rater1.tsv", text)
    with pytest.raises(EvalkitError, match="2 values"):
        evalkit.rate_import(path, run=run.path)
    assert [(row["line"], row["column"], row["reason"]) for row in rejected(run)] == [
        ("2", "sdxl", "no answer"),
        ("3", "DALLE", "expected two scores such as [0.5,1]"),
        ("3", "sdxl", "between two points; expected 0, 0.5, 1"),
    ]


def test_an_unknown_model_or_sample(run: Run, tmp_path: Path) -> None:
    text = TABLE.replace("sdxl", "SD").replace("00000", "sample_0.jpg")
    with pytest.raises(EvalkitError):
        evalkit.rate_import(write(tmp_path / "rater1.tsv", text), run=run.path)
    reasons = {row["reason"] for row in rejected(run)}
    assert "no prompt of the run has this id, text or image" in reasons
    assert any("no model of the run" in reason for reason in reasons)


def test_samples_are_found_by_the_files_that_the_run_took(run: Run, tmp_path: Path) -> None:
    """The models' folders in ImagenHub all have the same names of files."""
    for model in ("sdxl", "dalle"):
        records = [
            dataclasses.replace(record, source=f"sample_{record.index}.jpg")
            for record in run.records(model)
        ]
        run.append_records(model, records)
    text = TABLE.replace("00001.jpg", "sample_7.jpg").replace("00000", "sample_3.jpg")
    evalkit.rate_import(write(tmp_path / "rater1.tsv", text), run=run.path)
    assert {rating.prompt_id for rating in imported(run)} == {"00003", "00007"}
