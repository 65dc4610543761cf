"""Batch results of Mechanical Turk, as its requester page and HELM's tasks have them."""

import json
from pathlib import Path

import pytest
from rating_files import PROMPTS, imported, rated_run, rejected, table, write

import evalkit
from evalkit.core import EvalkitError
from evalkit.ratings.files import studies
from evalkit.run_folder import Run

Rows = list[dict[str, object]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return rated_run(tmp_path / "run")


def assignments(**answers: object) -> Rows:
    """One assignment of each of two workers per prompt."""
    return [
        {
            "HITId": f"hit{at}",
            "AssignmentId": f"a{at}{worker}",
            "WorkerId": worker,
            "AssignmentStatus": "Approved",
            "WorkTimeInSeconds": "12",
            "Input.prompt": text.encode("ascii", "xmlcharrefreplace").decode(),
            **answers,
            "Approve": "x",
            "Reject": "",
        }
        for at, text in enumerate(PROMPTS)
        for worker in ("W1", "W2")
    ]


def pairs() -> Rows:
    rows = assignments()
    for at, row in enumerate(rows):
        index = at // 2
        row["Input.image_a"] = f"https://example.com/images/dalle/{index:05d}-0.png?x=1"
        row["Input.image_b"] = f"https://example.com/images/sdxl/{index:05d}-0.png"
        for place, option in enumerate(("image_a", "image_b", "tie")):
            row[f"Answer.choice.{option}.on"] = str(at % 3 == place).lower()
    return rows


def test_choices_of_a_pair_are_labels_with_their_sides(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "Batch_7_batch_results.csv", table(pairs()))
    made = evalkit.rate_import(path, run=run.path, study="quality")
    assert made.formats == {"Batch_7_batch_results.csv": "mturk"}
    found = imported(run)
    assert len(found) == 24
    assert [rating.response for rating in found[:3]] == ["dalle", "sdxl", "tie"]
    assert {rating.shown_left for rating in found} == {"dalle"}
    assert {rating.item for rating in found[:2]} == {"00000:sdxl:dalle"}
    assert {rating.ms for rating in found} == {12000}
    assert found[6].prompt_id == "00003"  # with an emoji, which requesters write as an entity


def test_rejected_assignments_are_left_out_and_counted(run: Run, tmp_path: Path) -> None:
    rows = pairs()
    rows[0]["AssignmentStatus"] = "Rejected"
    rows[1]["Reject"] = "x"
    made = evalkit.rate_import(write(tmp_path / "b.csv", table(rows)), run=run.path)
    assert made.left_out == {"rejected assignment": 2}
    assert made.ratings == 22
    assert [row["line"] for row in rejected(run)] == ["2", "3"]


@pytest.mark.parametrize(("chosen", "reason"), [((), "no options"), ((0, 2), "2 options")])
def test_one_option_must_be_chosen(
    run: Run, tmp_path: Path, chosen: tuple[int, ...], reason: str
) -> None:
    rows = pairs()
    for place, option in enumerate(("image_a", "image_b", "tie")):
        rows[0][f"Answer.choice.{option}.on"] = str(place in chosen).lower()
    with pytest.raises(EvalkitError, match="1 value of 24"):
        evalkit.rate_import(write(tmp_path / "b.csv", table(rows)), run=run.path)
    [row] = rejected(run)
    assert row["reason"] == f"{reason} are chosen; expected one"
    assert row["column"] == "Answer.choice.*"


def test_free_comments_can_be_ignored(run: Run, tmp_path: Path) -> None:
    rows = [row | {"Answer.comments": "nice" * (at % 2)} for at, row in enumerate(pairs())]
    path = write(tmp_path / "b.csv", table(rows))
    with pytest.raises(EvalkitError, match="12 values of 24 rows cannot be imported") as error:
        evalkit.rate_import(path, run=run.path)
    assert "`--ignore comments`" in error.value.hint
    made = evalkit.rate_import(path, run=run.path, ignore=["comments"])
    assert (made.ratings, made.left_out) == (24, {"ignored question": 24})


def test_scales_of_helm_count_options_from_zero(run: Run, tmp_path: Path) -> None:
    rows = assignments()
    for at, row in enumerate(rows):
        row["Input.image_url"] = f"images/sdxl/{at // 2:05d}-0.png"
        for option in range(5):
            row[f"Answer.alignment.{option}.on"] = str(option == at % 4).lower()
    evalkit.rate_import(write(tmp_path / "b.csv", table(rows)), run=run.path)
    [study] = studies(run)
    assert study.questions[0].anchors == ("0", "1", "2", "3", "4")  # although no one chose 4
    assert [rating.response for rating in imported(run)][:4] == ["1", "2", "3", "4"]


def test_answers_of_crowd_elements(run: Run, tmp_path: Path) -> None:
    rows = assignments()
    for at, row in enumerate(rows):
        row["Input.model"] = "flux-1"
        answer = {str(value): value == 1 + at % 5 for value in range(1, 6)}
        row["Answer.taskAnswers"] = json.dumps([{"alignment": answer, "objects": "yes"}])
    made = evalkit.rate_import(write(tmp_path / "b.csv", table(rows)), run=run.path)
    assert made.new_studies == ("imported-scale", "imported-checklist")
    assert made.ratings == 48
    rows[0]["Answer.taskAnswers"] = "{"
    with pytest.raises(EvalkitError):
        evalkit.rate_import(write(tmp_path / "c.csv", table(rows)), run=run.path)
    assert rejected(run)[0]["reason"] == "not JSON of one task"


def test_sides_that_no_name_tells_are_not_guessed(run: Run, tmp_path: Path) -> None:
    names = {"Input.image_a": "Input.foo", "Input.image_b": "Input.bar"}
    rows = [{names.get(key, key): value for key, value in row.items()} for row in pairs()]
    with pytest.raises(EvalkitError):
        evalkit.rate_import(write(tmp_path / "b.csv", table(rows)), run=run.path)
    assert "tell which was on the left" in rejected(run)[0]["reason"]


def test_an_image_of_another_prompt_is_named(run: Run, tmp_path: Path) -> None:
    rows = pairs()
    rows[0]["Input.prompt"] = PROMPTS[1]
    with pytest.raises(EvalkitError):
        evalkit.rate_import(write(tmp_path / "b.csv", table(rows)), run=run.path)
    assert "is of another prompt" in rejected(run)[0]["reason"]


@pytest.mark.parametrize("column", ["Input.prompt", "Input.promptText"])
def test_a_batch_of_another_run_with_the_same_numbers_is_refused(
    run: Run, tmp_path: Path, column: str
) -> None:
    rows = [
        {column if key == "Input.prompt" else key: value for key, value in row.items()}
        | {column: f"another text {at // 2}"}
        for at, row in enumerate(pairs())
    ]
    with pytest.raises(EvalkitError, match="nothing was"):
        evalkit.rate_import(write(tmp_path / "b.csv", table(rows)), run=run.path)
    first, *rest = rejected(run)
    assert len(rest) == 23
    assert (first["line"], first["column"], first["value"]) == ("2", column, "another text 0")
    assert first["reason"].startswith("no prompt of the run has this text; 'https://example.com/")


def test_ids_of_tasks_are_no_prompts(run: Run, tmp_path: Path) -> None:
    rows = [row | {"Input.id": f"task {at}"} for at, row in enumerate(pairs())]
    assert evalkit.rate_import(write(tmp_path / "b.csv", table(rows)), run=run.path).ratings == 24
