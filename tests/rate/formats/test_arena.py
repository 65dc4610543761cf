"""Battles of arenas, in the three shapes that they are published in."""

import json
from pathlib import Path

import pytest
from rating_files import imported, rated_run, rejected, table, write

import evalkit
from evalkit.core import EvalkitError
from evalkit.run_folder import Run

WINNERS = ("model_a", "model_b", "tie", "tie (bothbad)")
EXPECTED = ["dalle", "sdxl", "tie", "both_bad"]


def battles() -> list[dict[str, object]]:
    return [
        {
            "question_id": f"{at:05d}",
            "model_a": "dalle",
            "model_b": "sdxl",
            "winner": winner,
            "judge": "arena_user_1",
            "tstamp": 1690000000.5 + at,
        }
        for at, winner in enumerate(WINNERS)
    ]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return rated_run(tmp_path / "run")


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_winners_are_labels(run: Run, tmp_path: Path, kind: str) -> None:
    rows = battles()
    text = {
        "json": json.dumps(rows, indent=1),
        "jsonl": "\n".join(map(json.dumps, rows)),
        "csv": table(rows),
    }[kind]
    made = evalkit.rate_import(write(tmp_path / f"battles.{kind}", text), run=run.path)
    assert list(made.formats.values()) == ["arena"]
    found = imported(run)
    assert [rating.response for rating in found] == EXPECTED
    assert {rating.item.partition(":")[2] for rating in found} == {"sdxl:dalle"}
    assert {rating.shown_left for rating in found} == {"dalle"}
    assert found[0].started_at == "2023-07-22T04:26:40.500+00:00"
    assert {rating.rater for rating in found} == {"arena_user_1"}


def test_votes_without_a_rater_count_as_different_raters(run: Run, tmp_path: Path) -> None:
    rows = [{key: value for key, value in row.items() if key != "judge"} for row in battles()]
    made = evalkit.rate_import(write(tmp_path / "b.json", json.dumps(rows)), run=run.path)
    assert made.raters == 4
    assert "b.json names no rater for 4 votes; each counts as another rater." in made.notes


def test_a_battle_of_a_model_with_itself_and_another_winner(run: Run, tmp_path: Path) -> None:
    rows = battles()
    rows[0]["model_b"] = "dalle"
    rows[1]["winner"] = "model_c"
    with pytest.raises(EvalkitError, match="2 values"):
        evalkit.rate_import(write(tmp_path / "b.json", json.dumps(rows)), run=run.path)
    reasons = [row["reason"] for row in rejected(run)]
    assert reasons[0] == "both images are of one model"
    assert "expected dalle, sdxl, left, right, tie, both_bad or cannot_tell" in reasons[1]
