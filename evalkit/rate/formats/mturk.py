"""Amazon Mechanical Turk's batch results: a CSV row per assignment, `Input.*` and `Answer.*`.

A choice is one column per option, `Answer.<question>.<option>.on`, with `true` in the chosen one,
as HELM's `src/helm/proxy/critique/mechanical_turk_critique_importer.py` reads them; crowd elements
write `Answer.taskAnswers` with JSON. Requesters encode emoji in `Input.*` as HTML entities.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from evalkit.rate.answers import Answer, Cell, Clues, Format, Problem, Reading
from evalkit.rate.data_columns import DataColumns, data_columns
from evalkit.rate.names import Names
from evalkit.rate.source import Row, Source, text_of
from evalkit.rate.times import milliseconds

_OPTION = re.compile(r"Answer\.(.+)\.([^.]+)\.on|Answer\.([^.]+)\.([^.]+)")
TASK_ANSWERS = "Answer.taskAnswers"
_TRUE, _FALSE = ("true", "on"), ("false", "", "off")


def recognizes(source: Source) -> bool:
    return {"WorkerId", "AssignmentId"} <= set(source.columns)


def read(source: Source, names: Names) -> Reading:
    reading = Reading()
    inputs = [name[6:] for name in source.columns if name.startswith("Input.")]
    found = data_columns(inputs, source.rows, names, "Input.")
    if not isinstance(found, DataColumns) or not found.sides:
        reason = found if isinstance(found, str) else "has no Input column of models or images"
        reading.problems.append(source.problem("1", Cell("", ""), reason))
        return reading
    for row in source.rows:
        status, reject = row.cell("AssignmentStatus"), row.cell("Reject")
        if status.text.lower() == "rejected" or reject.text:
            cell = reject if reject.text else status
            reading.left_out.append(source.problem(row.line, cell, "rejected assignment"))
            continue
        _read_row(source, row, found.clues(row, "Input."), reading)
    return reading


def _read_row(source: Source, row: Row, clues: list[Clues], reading: Reading) -> None:
    values = list(_values(source, row))
    # The time of an assignment is the time of an answer only where there is one.
    ms = milliseconds(row.cell("WorkTimeInSeconds").text) if len(values) == 1 else 0
    for found in values:
        if isinstance(found, Problem):
            reading.problems.append(found)
            continue
        question, value, options = found
        reading.answers.append(
            Answer(
                *(row.line, row.cell("WorkerId").text, question, value, clues[0]),
                right=clues[1] if len(clues) > 1 else None,
                options=options,
                ms=ms,
            )
        )


def _values(source: Source, row: Row) -> Iterator[Problem | tuple[str, Cell, tuple[str, ...]]]:
    """(question, answer, possible answers) of one assignment."""
    chosen: dict[str, dict[str, str]] = {}  # question: option: its cell
    for column in source.columns:
        if not column.startswith("Answer.") or column == TASK_ANSWERS:
            continue
        found, text = _OPTION.fullmatch(column), row.cell(column).text
        if found and text.lower() in _TRUE + _FALSE:
            question, option = found[1] or found[3], found[2] or found[4]
            chosen.setdefault(question, {})[option] = text.lower()
        else:
            yield column.removeprefix("Answer."), Cell(column, text), ()
    for question, cells in chosen.items():
        yield _chosen(source, row, f"Answer.{question}.*", question, cells)
    yield from _task_answers(source, row)


def _chosen(
    source: Source, row: Row, column: str, question: str, cells: dict[str, str]
) -> Problem | tuple[str, Cell, tuple[str, ...]]:
    true = [option for option, text in cells.items() if text in _TRUE]
    if len(true) == 1:
        return question, Cell(column, true[0]), tuple(cells)
    reason = f"{len(true) or 'no'} options are chosen; expected one"
    return source.problem(row.line, Cell(column, ", ".join(true)), reason)


def _task_answers(
    source: Source, row: Row
) -> Iterator[Problem | tuple[str, Cell, tuple[str, ...]]]:
    """The answers of crowd elements: `[{"question": {"4": true, "5": false}}]`."""
    text = row.cell(TASK_ANSWERS).text
    if not text:
        return
    try:
        [answers] = json.loads(text)
        items: list[tuple[str, Any]] = list(answers.items())
    except (ValueError, TypeError, AttributeError):
        yield source.problem(row.line, Cell(TASK_ANSWERS, text), "not JSON of one task")
        return
    for question, value in items:
        if isinstance(value, dict) and value and all(isinstance(x, bool) for x in value.values()):
            cells = {option: text_of(on) for option, on in value.items()}
            yield _chosen(source, row, TASK_ANSWERS, question, cells)
        else:
            yield question, Cell(TASK_ANSWERS, text_of(value)), ()


FORMAT = Format("mturk", "WorkerId, AssignmentId, Input.*, Answer.*", recognizes, read)
