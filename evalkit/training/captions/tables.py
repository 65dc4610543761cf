"""Captions in tables: captions.jsonl or .csv, and metadata.jsonl or .csv of Hugging Face."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError
from evalkit.hints import plural
from evalkit.prompts.text import FILE_LIMIT, numbered_lines, parse_json
from evalkit.training.captions.texts import (
    CAPTION_KEYS,
    EXPECTED,
    cleaned,
    decode_text,
    read_limited,
)

TABLES = ("captions.jsonl", "metadata.jsonl", "captions.csv", "metadata.csv")
IMAGE_KEYS = ("file_name", "image", "file")


def table_captions(folder: Path, file: str) -> Iterator[tuple[str, list[str]]]:
    """(image, captions) of each row. Paths in the table are relative to its own folder."""
    path = folder / file
    text = decode_text(read_limited(path, FILE_LIMIT), str(path))
    rows = _json_rows(text, path) if path.suffix.lower() == ".jsonl" else _csv_rows(text, path)
    for label, fields in rows:
        image, caption = (
            next((fields[key] for key in keys if key in fields), None)
            for keys in (IMAGE_KEYS, CAPTION_KEYS)
        )
        if caption is None:
            raise _missing(label, "caption", CAPTION_KEYS)
        if not isinstance(image, str):
            raise _missing(label, "image", IMAGE_KEYS)
        name = posixpath.normpath(posixpath.join(posixpath.dirname(file), image))
        yield name, cleaned(caption, label)


def _missing(label: str, field: str, keys: tuple[str, ...]) -> EvalkitError:
    return EvalkitError(
        f"{label} has no {field}; expected text under one of: {', '.join(keys)}.",
        EXPECTED,
        code="training-18",
    )


def _json_rows(text: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in numbered_lines(text):
        value = parse_json(line, label := f"Line {number} of {path}", EXPECTED)
        yield label, value if isinstance(value, dict) else {}


def _csv_rows(text: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip().lower() for column in next(rows, [])]
        for row in rows:
            if not any(field.strip() for field in row):
                continue
            label = f"Line {rows.line_num} of {path}"
            if len(row) != len(header) or len(set(header)) < len(header):
                raise EvalkitError(
                    f"{label} has {plural(len(row), 'field')}; "
                    f"expected those of the columns {', '.join(header)}.",
                    "Put captions that contain a comma in double quotes, "
                    "and name each column once.",
                    code="training-19",
                )
            yield label, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise EvalkitError(
            f"Line {rows.line_num} of {path} is not valid CSV: {error}.",
            EXPECTED,
            code="training-20",
        ) from error
