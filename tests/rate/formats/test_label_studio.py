"""Exports of Label Studio in its three shapes."""

import json
from pathlib import Path
from typing import Any

import pytest
from rating_files import PROMPTS, imported, rated_run, rejected, table, write

import evalkit
from evalkit.core import EvalkitError
from evalkit.run_folder import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return rated_run(tmp_path / "run")


def result(name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"from_name": name, "to_name": "image1,image2", "type": kind, "value": value}


def tasks(*results: dict[str, Any], **data: str) -> list[dict[str, Any]]:
    return [
        {
            "id": at,
            "data": {
                "text": text,
                "image1": f"/data/upload/3/sdxl/{at:05d}-0.png",
                "image2": f"/data/upload/3/flux-1/{at:05d}-0.png",
                **data,
            },
            "annotations": [
                {
                    "id": 10 * at + rater,
                    "completed_by": {"id": rater, "email": f"r{rater}@example.com"},
                    "result": list(results),
                    "was_cancelled": rater == 3,
                    "ground_truth": False,
                    "created_at": "2026-03-09T22:16:08.728353Z",
                    "lead_time": 4.288,
                }
                for rater in (1, 2, 3)
            ],
            "predictions": [],
        }
        for at, text in enumerate(PROMPTS)
    ]


def dump(path: Path, value: Any) -> Path:
    return write(path, json.dumps(value))


def test_pairs_in_json(run: Run, tmp_path: Path) -> None:
    content = tasks(result("which", "pairwise", {"selected": "right"}))
    made = evalkit.rate_import(dump(tmp_path / "x.json", content), run=run.path)
    assert made.formats == {"x.json": "label-studio"}
    assert made.left_out == {"cancelled annotation": 12}
    found = imported(run)
    assert len(found) == 24
    assert {rating.response for rating in found} == {"flux-1"}
    assert {rating.shown_left for rating in found} == {"sdxl"}
    assert {rating.question for rating in found} == {"which"}
    assert len({rating.rater for rating in found}) == 2
    assert found[0].rater.startswith("rater-")  # without the mail address
    assert found[0].ms == 4288
    assert found[0].started_at == "2026-03-09T22:16:08.728+00:00"


def single(task: dict[str, Any], model: str) -> dict[str, Any]:
    image = task["data"]["image1"].replace("sdxl", model)
    return task | {"data": {"text": task["data"]["text"], "image": image}}


def test_ratings_and_choices_in_json(run: Run, tmp_path: Path) -> None:
    rating = result("alignment", "rating", {"rating": 4})
    choice = result("objects", "choices", {"choices": ["Yes"]})
    content = [single(task, "dalle") for task in tasks(rating, choice)]
    path = dump(tmp_path / "x.json", content)
    made = evalkit.rate_import(path, run=run.path, scale="1-5")
    assert made.ratings == 48
    assert {(r.model, r.question, r.response) for r in imported(run)} == {
        ("dalle", "alignment", "4"),
        ("dalle", "objects", "yes"),
    }


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"choices": ["yes", "no"]}, "2 answers; expected one"),
        ({"choices": []}, "no answers; expected one"),
        ({"polygon": 1}, "no answers; expected one"),
    ],
)
def test_answers_that_are_not_one(run: Run, tmp_path: Path, value: Any, reason: str) -> None:
    content = tasks(result("which", "choices", {"choices": ["left"]}))
    content[0]["annotations"][0]["result"] = [result("which", "choices", value)]
    content[1]["annotations"][0]["result"] = []
    with pytest.raises(EvalkitError, match="2 values"):
        evalkit.rate_import(dump(tmp_path / "x.json", content), run=run.path)
    wrong = [row for row in rejected(run) if row["reason"] != "cancelled annotation"]
    assert [row["line"] for row in wrong] == ["item 1", "item 2"]
    assert wrong[0]["reason"] == reason
    assert wrong[1]["reason"] == "an annotation without an answer"


def rows(**more: Any) -> list[dict[str, Any]]:
    return [
        {
            "alignment": 1 + at % 5,
            "annotation_id": at,
            "annotator": "r1@example.com",
            "created_at": "2026-03-09T22:16:08Z",
            "id": at,
            "image": f"sdxl/{at:05d}-0.png",
            "lead_time": 2.5,
            "text": text,
            "updated_at": "2026-03-09T22:16:09Z",
            **more,
        }
        for at, text in enumerate(PROMPTS)
    ]


def test_csv_and_json_min_are_the_same_ratings(run: Run, tmp_path: Path) -> None:
    evalkit.rate_import(write(tmp_path / "x.csv", table(rows())), run=run.path)
    found = imported(run)
    assert [rating.response for rating in found[:6]] == ["1", "2", "3", "4", "5", "1"]
    assert found[0].ms == 2500
    made = evalkit.rate_import(dump(tmp_path / "x.json", rows()), run=run.path)
    assert (made.ratings, made.known) == (0, 12)


def test_cells_with_json_hold_one_choice(run: Run, tmp_path: Path) -> None:
    content = rows(alignment=json.dumps({"choices": ["no"]}))
    evalkit.rate_import(write(tmp_path / "x.csv", table(content)), run=run.path)
    assert {rating.response for rating in imported(run)} == {"no"}


def test_data_without_images_of_the_run(run: Run, tmp_path: Path) -> None:
    content = tasks(result("which", "pairwise", {"selected": "left"}))
    for task in content:
        task["data"] = {"text": "something else"}
    with pytest.raises(EvalkitError):
        evalkit.rate_import(dump(tmp_path / "x.json", content), run=run.path)
    assert rejected(run)[0]["reason"] == "has no data of models or images"
