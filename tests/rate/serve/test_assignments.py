"""What a new rater gets, after what others have done."""

import datetime
from pathlib import Path

import pytest
from ratings_for_tests import preference, vote

from evalkit.core import EvalkitError
from evalkit.rate.serve.assignments import Assignment, join, read_assignments
from evalkit.ratings.study import Study
from evalkit.run_folder import Run


def before(**gone: float) -> str:
    now = datetime.datetime.now(datetime.UTC)  # not when the module was imported: minutes earlier
    return f"{now - datetime.timedelta(**gone):%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "ratings").mkdir()
    return Run(tmp_path)


def study(items: int) -> Study:
    return preference(prompts=tuple(f"{at:05d}" for at in range(8)), items_per_rater=items)


def items(assignment: Assignment) -> set[str]:
    return {item for item, _ in assignment.items}


def test_an_assignment_is_read_as_it_was_written(run: Run) -> None:
    assert read_assignments(run, "preference") == {}
    first = join(run, study(4), "anna", [], {})
    second = join(run, study(4), "b" * 24, [first], {}, prolific=True)
    assert read_assignments(run, "preference") == {"anna": first, "b" * 24: second}
    assert not items(first) & items(second)


def test_a_line_that_was_cut_short_is_no_assignment(run: Run) -> None:
    first = join(run, study(4), "anna", [], {})
    with run.assignments_path("preference").open("a") as file:
        file.write('{"rater": "ben", "joined')
    assert read_assignments(run, "preference") == {"anna": first}
    again = join(run, study(4), "ben", [first], {})
    assert read_assignments(run, "preference") == {"anna": first, "ben": again}


@pytest.mark.parametrize(
    ("joined", "answered", "free"),
    [
        ({"minutes": 50}, [], 0),  # may still answer everything
        ({"hours": 2}, [], 4),  # has gone without an answer
        ({"hours": 2}, [{"hours": 1.5}], 3),  # has answered one item
        ({"hours": 2}, [{"minutes": 5}], 0),  # is still at it
    ],
)
def test_items_of_raters_who_left_are_given_again(
    run: Run, joined: dict, answered: list[dict], free: int
) -> None:
    made = join(run, study(4), "anna", [], {})
    gone = Assignment("anna", made.items, before(**joined))
    given = [
        vote("anna", item=item, started_at=before(**at))
        for (item, _), at in zip(made.items, answered, strict=False)
    ]
    others = join(run, study(4), "ben", [gone], {"anna": given})
    later = join(run, study(4), "cleo", [gone, others], {"anna": given})
    taken = items(others) | items(later)
    assert len(taken & items(made)) >= free
    assert len(taken - items(made)) == 4  # what nobody had comes first
    if not free:
        assert not items(others) & items(made)


def test_damaged_assignments_are_one_sentence(run: Run) -> None:
    run.assignments_path("preference").write_text('{"rater": "anna"}\n')
    with pytest.raises(EvalkitError, match="is damaged"):
        read_assignments(run, "preference")
