"""A file as people have it -> rows of a table, or JSON items, with the line of each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import EvalkitError
from evalkit.files import read_limited
from evalkit.rate.answers import Cell, Problem

_MAGIC = {
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF",
    b"\x89PNG": "a PNG image",
}
LONG_TABLE = (
    "a table with one row per answer and the columns rater, prompt (or prompt_id), model, question"
    " and response"
)
_SAVE = f"Save it as CSV in UTF-8: {LONG_TABLE}, or one of those in docs/ratings/imports.md."
_MOST = 1 << 30  # bytes; images may be embedded in a table
_FIELD_LIMIT = 2**31 - 1  # the default of 131,072 characters is less than an embedded image


class Row(NamedTuple):
    """One row of a table, or one JSON object."""

    line: str
    values: Mapping[str, Any]

    def cell(self, column: str) -> Cell:
        """The text of a column; "" where the row has none."""
        value = self.values.get(column, "")
        return Cell(column, "" if value is None else text_of(value).strip())


@dataclass(frozen=True)
class Source:
    """A file of ratings. A table has `columns`; a JSON file has none and may have `top` keys."""

    path: Path
    rows: list[Row]
    columns: tuple[str, ...] = ()
    top: Mapping[str, Any] = field(default_factory=dict)  # of a JSON object
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """What the file has been recognized by: its columns, or the keys of its objects."""
        return self.columns or tuple({**self.top, **(self.rows[0].values if self.rows else {})})

    def problem(self, line: str, cell: Cell, reason: str) -> Problem:
        return Problem(self.path.name, line, cell.column, cell.text[:200], reason)


def text_of(value: Any) -> str:
    """A value of JSON as text: numbers and texts as they are, others as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def read_source(path: Path) -> Source:
    """Read a table or a JSON file. Raises EvalkitError for what is neither."""
    try:
        data = read_limited(path, _MOST)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no file can have this name"
        raise EvalkitError(
            f"{path} cannot be read: {reason}.",
            "Check the path and its permissions.",
            code="rate-57",
        ) from error
    text, notes = _decoded(data, path)
    if not text.strip():
        raise EvalkitError(
            f"{path} is empty; expected ratings.", "Export it again.", code="rate-58"
        )
    if text.lstrip()[:1] in ("[", "{"):
        return _json(text, path, notes)
    return _table(text, path, notes)


def _decoded(data: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    """The text of a file and what to say about its encoding."""
    kind = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), "")
    if kind:
        raise EvalkitError(
            f"{path} is {kind}; expected a table as text, or JSON.", _SAVE, code="rate-59"
        )
    encoding, note = "utf-8-sig", ()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in data[:200]:  # UTF-16 without a byte order mark
        encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    try:
        return data.decode(encoding), note
    except UnicodeDecodeError:
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError as error:
            raise EvalkitError(
                f"{path} is neither UTF-8, UTF-16 nor Windows-1252 text.", _SAVE, code="rate-60"
            ) from error
    if encoding != "utf-8-sig" or "\0" in text:
        raise EvalkitError(
            f"{path} is a binary file; expected a table as text, or JSON.", _SAVE, code="rate-61"
        )
    return text, (f"{path.name} is not UTF-8; it is read as Windows-1252.",)


def _json(text: str, path: Path, notes: tuple[str, ...]) -> Source:
    """A list of objects, an object, or an object per line."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        rows = _json_lines(text)
        if rows is None:
            reason = getattr(error, "msg", None) or str(error)
            line = getattr(error, "lineno", 1)
            raise EvalkitError(
                f"Line {line} of {path} is not valid JSON: {reason}.",
                "Export the file again.",
                code="rate-62",
            ) from error
        return Source(path, rows, notes=notes)
    if isinstance(value, dict):
        return Source(path, [], top=value, notes=notes)
    rows, problems = [], []
    for number, item in enumerate(value, 1):
        if isinstance(item, dict):
            rows.append(Row(f"item {number}", item))
        else:
            shown = text_of(item)[:200]
            problems.append(Problem(path.name, f"item {number}", "", shown, "not an object"))
    return Source(path, rows, problems=tuple(problems), notes=notes)


def _json_lines(text: str) -> list[Row] | None:
    """The objects of a file of JSON lines; None if it is not one."""
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                return None
            if not isinstance(value, dict):
                return None
            rows.append(Row(str(number), value))
    return rows


def _table(text: str, path: Path, notes: tuple[str, ...]) -> Source:
    """The rows of a table, whatever separates its columns."""
    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        records = _records(text, _delimiter(text), path)
    finally:
        csv.field_size_limit(before)
    header = [name.strip() for name in records[0][1]]
    while header and not header[-1]:
        header.pop()  # a spreadsheet adds empty columns
    double = {name for name in header if header.count(name) > 1}
    if double or "" in header:
        found = ", ".join(repr(name) for name in sorted(double or {""}))
        raise EvalkitError(
            f"{path} has the column {found} more than once, or a column without a name.",
            "Give each column a name of its own.",
            code="rate-63",
        )
    rows: list[Row] = []
    problems: list[Problem] = []
    for line, values in records[1:]:
        if not any(value.strip() for value in values):
            continue
        if len(values) < len(header) or any(value.strip() for value in values[len(header) :]):
            reason = f"{len(values)} fields; expected {len(header)}"
            problems.append(Problem(path.name, line, "", ",".join(values)[:200], reason))
        else:
            rows.append(Row(line, dict(zip(header, values, strict=False))))
    return Source(path, rows, tuple(header), problems=tuple(problems), notes=notes)


def _delimiter(text: str) -> str:
    """The separator that makes the most columns of the first record."""

    def columns(delimiter: str) -> int:
        try:
            return len(next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)))
        except (csv.Error, StopIteration):
            return 0

    return max(",\t;", key=columns)


def _records(text: str, delimiter: str, path: Path) -> list[tuple[str, list[str]]]:
    """The records of a table with the line at which each begins."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records: list[tuple[str, list[str]]] = []
    start = 1
    try:
        for values in reader:
            if values or records:
                records.append((str(start), values))
            start = reader.line_num + 1
    except csv.Error as error:
        raise EvalkitError(
            f"The record at line {start} of {path} is not valid CSV: {error}.",
            "Look for a quotation mark that is not closed.",
            code="rate-64",
        ) from error
    return records
