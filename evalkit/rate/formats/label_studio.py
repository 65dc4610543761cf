"""Label Studio's exports: JSON, JSON_MIN and CSV.

JSON: tasks with `data` and `annotations[].result[]` (`type`, `from_name`, `value`), as in
https://labelstud.io/guide/task_format. JSON_MIN and CSV: one row per annotation, the task's data
beside one column per control tag, and `annotator`, `annotation_id`, `lead_time` and others, as
`src/label_studio_sdk/converter/exports/csv2.py` of label-studio-sdk writes them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.rate.answers import Answer, Cell, Clues, Format, Reading
from evalkit.rate.data_columns import DataColumns, data_columns
from evalkit.rate.names import Names
from evalkit.rate.source import Row, Source, text_of
from evalkit.rate.times import iso, milliseconds

_FIXED = (
    *("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement"),
    *("history", "inner_id", "project", "was_cancelled", "ground_truth", "completed_by"),
)
_KEYS = ("rating", "choices", "selected", "number")  # of `value`, by type of the control tag


def recognizes(source: Source) -> bool:
    return bool(source.rows) and (
        {"data", "annotations"} <= set(source.keys)
        or {"annotation_id", "annotator"} <= set(source.keys)
    )


def read(source: Source, names: Names) -> Reading:
    if "annotations" in source.keys and "annotation_id" not in source.keys:
        return _read_tasks(source, names)
    return _read_annotations(source, names)


def _read_tasks(source: Source, names: Names) -> Reading:
    reading = Reading()
    tasks: list[tuple[Row, list[Any]]] = []
    for line, task in source.rows:
        data, annotations = task.get("data"), task.get("annotations")
        if isinstance(data, dict) and isinstance(annotations, list):
            tasks.append((Row(line, data), annotations))
        else:
            reading.problems.append(source.problem(line, Cell("data", ""), "not a task"))
    rows = [row for row, _ in tasks]
    columns = dict.fromkeys(name for row in rows for name in row.values)
    found = _columns(source, list(columns), rows, names, reading)
    if not found:
        return reading
    for row, annotations in tasks:
        for annotation in annotations:
            if not isinstance(annotation, dict):
                cell = Cell("annotations", text_of(annotation))
                reading.problems.append(source.problem(row.line, cell, "not an annotation"))
                continue
            _read_annotation(source, row, annotation, found.clues(row), reading)
    return reading


def _read_annotation(
    source: Source, row: Row, annotation: dict[str, Any], clues: list[Clues], reading: Reading
) -> None:
    by = annotation.get("completed_by")
    by = (by.get("email") or by.get("id")) if isinstance(by, dict) else by
    rater = "" if by is None else text_of(by)
    if annotation.get("was_cancelled"):
        cell = Cell("was_cancelled", "true")
        reading.left_out.append(source.problem(row.line, cell, "cancelled annotation"))
        return
    results = annotation.get("result")
    if not isinstance(results, list) or not results:
        cell = Cell("result", text_of(results))
        reading.problems.append(source.problem(row.line, cell, "an annotation without an answer"))
        return
    lead = text_of(annotation.get("lead_time") or "") if len(results) == 1 else ""
    for result in results:
        question = str(result.get("from_name", "")) if isinstance(result, dict) else ""
        value = result.get("value") if isinstance(result, dict) else result
        _add(source, row, Cell(question, ""), value, rater, clues, lead, annotation, reading)


def _add(
    source: Source,
    row: Row,
    question: Cell,
    value: Any,
    rater: str,
    clues: list[Clues],
    lead: str,
    times: Mapping[str, Any],
    reading: Reading,
) -> None:
    """Add the answer in a value of Label Studio, or the problem with it."""
    answers = list(_answers(value))
    if len(answers) != 1:
        cell = Cell(question.column, text_of(value))
        reason = f"{len(answers) or 'no'} answers; expected one"
        reading.problems.append(source.problem(row.line, cell, reason))
        return
    reading.answers.append(
        Answer(
            *(row.line, rater, question.column, Cell(question.column, answers[0]), clues[0]),
            right=clues[1] if len(clues) > 1 else None,
            started_at=iso(text_of(times.get("created_at") or "")),
            ms=milliseconds(lead),
        )
    )


def _answers(value: Any) -> Iterator[str]:
    """`{"rating": 4}`, `{"choices": ["yes"]}`, `{"selected": "left"}`, or a plain value."""
    if isinstance(value, dict):
        for key in _KEYS:
            if key in value:
                yield from _answers(value[key])
    elif isinstance(value, list):
        for item in value:
            yield from _answers(item)
    elif value is not None and value != "":
        yield text_of(value)


def _read_annotations(source: Source, names: Names) -> Reading:
    """JSON_MIN and CSV: what is neither data nor a fixed column is an answer."""
    reading = Reading()
    columns = list(source.columns) or list(
        dict.fromkeys(name for row in source.rows for name in row.values)
    )
    rest = [name for name in columns if name not in _FIXED]
    found = _columns(source, rest, source.rows, names, reading)
    if not found:
        return reading
    used = {*found.prompts, *found.models, *found.images}
    questions = [name for name in rest if name not in used]
    for row in source.rows:
        if row.cell("was_cancelled").text.lower() == "true":
            cell = row.cell("was_cancelled")
            reading.left_out.append(source.problem(row.line, cell, "cancelled annotation"))
            continue
        lead = row.cell("lead_time").text if len(questions) == 1 else ""
        for question in questions:
            value: Any = row.values.get(question)
            if isinstance(value, str) and value.strip()[:1] in ("{", "["):
                with contextlib.suppress(ValueError):
                    value = json.loads(value)
            cell = Cell(question, "")
            rater, clues = row.cell("annotator").text, found.clues(row)
            _add(source, row, cell, value, rater, clues, lead, row.values, reading)
    return reading


def _columns(
    source: Source, columns: list[str], rows: list[Row], names: Names, reading: Reading
) -> DataColumns | None:
    found = data_columns(columns, rows, names)
    if isinstance(found, DataColumns) and found.sides:
        return found
    reason = found if isinstance(found, str) else "has no data of models or images"
    reading.problems.append(source.problem("1", Cell("", ""), reason))
    return None


FORMAT = Format(
    "label-studio",
    "JSON with data and annotations; or JSON_MIN or CSV with annotator and annotation_id",
    recognizes,
    read,
)
