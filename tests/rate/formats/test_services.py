"""Rapidata, Appen and Prolific."""

import json
from pathlib import Path
from typing import Any

import pytest
from rating_files import MODELS, PROMPTS, imported, rated_run, rejected, scale_rows, table, write
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.run_folder import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return rated_run(tmp_path / "run")


# --- Rapidata ---
def rapidata(*votes: str) -> dict[str, Any]:
    """The example of Rapidata's documentation, with the images of our run."""
    images = ["sdxl/00001-0.png", "flux-1/00001-0.png"]
    return {
        "info": {"createdAt": "2026-07-13T11:07:53.577348+00:00", "version": "4.0.0"},
        "results": [
            {
                "context": PROMPTS[1],
                "winner_index": 1,
                "winner": images[1],
                "aggregatedResults": dict.fromkeys(images, 0),
                "detailedResults": [
                    {"votedFor": vote, "userDetails": {"country": "EG", "userScores": {}}}
                    for vote in votes
                ],
            }
        ],
        "summary": {"A_wins_total": 0, "B_wins_total": 1},
    }


def test_each_vote_of_rapidata_is_a_rater(run: Run, tmp_path: Path) -> None:
    content = rapidata("flux-1/00001-0.png", "sdxl/00001-0.png", "Neither", "Both")
    made = evalkit.rate_import(write(tmp_path / "r.json", json.dumps(content)), run=run.path)
    assert list(made.formats.values()) == ["rapidata"]
    assert made.raters == 4
    assert [r.response for r in imported(run)] == ["flux-1", "sdxl", "both_bad", "tie"]
    assert {r.shown_left for r in imported(run)} == {""}  # the file does not say it
    assert any("names no rater for 4 votes" in note for note in made.notes)


def test_other_results_of_rapidata_are_named(run: Run, tmp_path: Path) -> None:
    content = rapidata("sdxl/00001-0.png")
    content["results"].append({"context": "x", "aggregatedResults": {"a": 1}})
    with pytest.raises(EvalkitError, match="1 value"):
        evalkit.rate_import(write(tmp_path / "r.json", json.dumps(content)), run=run.path)
    assert rejected(run)[0]["line"] == "item 2"
    content["results"] = {"globalAggregatedData": {}}
    with pytest.raises(EvalkitError):
        evalkit.rate_import(write(tmp_path / "r.json", json.dumps(content)), run=run.path)
    assert "which are a list" in rejected(run)[0]["reason"]


# --- Appen ---
def judgments() -> list[dict[str, object]]:
    return [
        {
            "_unit_id": at,
            "_created_at": "3/9/2026 10:00:30",
            "_golden": "true" if at == 0 else "false",
            "_id": 100 * at + worker,
            "_missed": "",
            "_started_at": "3/9/2026 10:00:10",
            "_tainted": "false",
            "_channel": "x",
            "_trust": 0.75 + worker / 10,
            "_worker_id": worker,
            "_country": "x",
            "_ip": "192.0.2.1",
            "alignment": 1 + at % 5,
            "alignment_gold": "",
            "image_url": f"https://example.com/dalle/{at:05d}-0.png",
            "prompt": text,
        }
        for at, text in enumerate(PROMPTS)
        for worker in (1, 2)
    ]


def test_appens_full_report_without_test_questions(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "f123.csv", table(judgments()))
    made = evalkit.rate_import(path, run=run.path)
    assert list(made.formats.values()) == ["appen"]
    assert made.left_out == {"test question": 2}
    assert made.ratings == 22
    assert imported(run)[0].ms == 20000
    assert any("0.85 (1) to 0.95" in note for note in made.notes)
    assert "192.0.2.1" not in "".join(p.read_text("utf-8") for p in run.ratings_path.iterdir())


def test_appens_aggregated_report_has_no_workers(run: Run, tmp_path: Path) -> None:
    rows = [{key: row[key] for key in ("_unit_id", "_golden", "alignment")} for row in judgments()]
    with pytest.raises(EvalkitError):
        evalkit.rate_import(write(tmp_path / "a.csv", table(rows)), run=run.path)
    assert "export the full report" in rejected(run)[0]["reason"]


# --- Prolific ---
def participants() -> str:
    rows = [("r1", "APPROVED", "C1"), ("r2", "AWAITING REVIEW", "NOCODE"), ("r3", "RETURNED", "")]
    return table(
        [
            {
                "Submission id": at,
                "Participant id": rater,
                "Status": status,
                "Completion code": code,
            }
            for at, (rater, status, code) in enumerate(rows)
        ]
    )


def test_participants_of_prolific_exclude_raters(run: Run, tmp_path: Path) -> None:
    votes = write(tmp_path / "votes.csv", table(scale_rows()))
    people = write(tmp_path / "prolific_export_1.csv", participants())
    made = evalkit.rate_import([votes, people], run=run.path)
    assert made.formats == {"votes.csv": "evalkit", "prolific_export_1.csv": "prolific"}
    assert {rating.rater for rating in imported(run)} == {"r1"}
    assert made.left_out == {
        "Prolific: completion code NOCODE": 20,
        "Prolific: RETURNED": 20,
    }
    assert "The rater r3 is left out: Prolific: RETURNED." in made.notes
    assert len(rejected(run)) == 40


def test_participants_alone_exclude_who_rated_before(run: Run, tmp_path: Path) -> None:
    evalkit.rate_import(write(tmp_path / "votes.csv", table(scale_rows())), run=run.path)
    path = write(tmp_path / "prolific_export_1.csv", participants())
    said = CliRunner().invoke(app, ["rate", "import", str(path), "--run", str(run.path)])
    assert said.exit_code == 0, said.stderr
    assert "excluded: r3 (Prolific: RETURNED)." in said.stdout.splitlines()
    assert f"{run.excluded_path} names 2 who are left out of results." in said.stdout
    assert len(imported(run)) == 60  # nothing is deleted
    [found] = evalkit.rate_summary(run.path)
    assert found.excluded == {
        "r2": "Prolific: completion code NOCODE",
        "r3": "Prolific: RETURNED",
    }
    assert found.votes == 20
    text = CliRunner().invoke(app, ["rate", "summary", str(run.path)]).stdout
    assert "excluded: r3 (Prolific: RETURNED)" in text


def test_a_later_state_of_prolific_counts_and_other_reasons_stay(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", participants())
    evalkit.rate_import(path, run=run.path)
    write(run.excluded_path, run.excluded_path.read_text() + "r1,knew the models\n")
    write(path, participants().replace("RETURNED", "APPROVED"))
    evalkit.rate_import(path, run=run.path)
    assert run.excluded_path.read_text() == (
        "rater,reason\nr2,Prolific: completion code NOCODE\nr1,knew the models\n"
    )


@pytest.mark.parametrize("content", ["name;why\n", "rater,reason\nr1\n", "rater,reason\nr1,\n"])
def test_a_wrong_list_of_excluded_raters_is_named(run: Run, tmp_path: Path, content: str) -> None:
    evalkit.rate_import(write(tmp_path / "votes.csv", table(scale_rows())), run=run.path)
    write(run.excluded_path, content)
    with pytest.raises(EvalkitError, match=r"excluded\.csv .*expected") as error:
        evalkit.rate_summary(run.path)
    assert "`anna,knew the models`" in error.value.hint


def test_the_label_of_the_better_image_is_an_answer_where_two_images_are_named(
    run: Run, tmp_path: Path
) -> None:
    rows = [
        {
            "_unit_id": at,
            "_worker_id": "11",
            "better": MODELS[at % 2],
            "image_a": f"images/{MODELS[0]}/{at:05d}-0.png",
            "image_b": f"images/{MODELS[1]}/{at:05d}-0.png",
        }
        for at in range(6)
    ]
    evalkit.rate_import(write(tmp_path / "full.csv", table(rows)), run=run.path)
    found = imported(run)
    assert [rating.response for rating in found] == [MODELS[at % 2] for at in range(6)]
    assert {rating.question for rating in found} == {"better"}
