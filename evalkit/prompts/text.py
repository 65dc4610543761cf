"""The text of a file: UTF-8 with short lines, or an error that says what it is instead."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError
from evalkit.files import read_limited

LINE_LIMIT = 64 * 1024  # bytes; a longer line means that the file is not a prompt list
FILE_LIMIT = 128 << 20  # bytes; the captions of COCO have 92 MB
LINES_LIMIT = 2_000_000
VALUES_LIMIT = 10_000_000  # of JSON; each takes up to 200 bytes. The captions of COCO have 3.5 M
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAGIC = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip file",
}
FORMATS = (
    "Expected UTF-8 text with one prompt per line, .jsonl, .json, .csv, .tsv, .parquet, COCO"
    " captions in .json, or a folder of .txt files with one prompt each."
)


def read_text(path: Path, kind: str = "prompts file") -> str:
    """The decoded text of a file. Raises EvalkitError unless it is UTF-8 text with short lines.

    kind: what the file is, for messages.
    """
    if not os.path.exists(path):  # unlike Path.exists, takes names that no file can have
        raise EvalkitError(
            f"There is no {kind} {path!s:.200}.",
            "Check the path. `evalkit list suites` has the lists that come with evalkit.",
            code="prompts-36",
        )
    try:
        data = read_limited(path, FILE_LIMIT)
    except OSError as error:
        raise EvalkitError(
            f"The {kind} {path} cannot be read: {error.strerror}.", FORMATS, code="prompts-37"
        ) from error
    found = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), "")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        found = "UTF-16 text"
    if found or b"\0" in data:
        raise EvalkitError(
            f"The {kind} {path} is {found or 'a binary file (it contains NUL bytes)'}; "
            "expected UTF-8 text.",
            FORMATS,
            code="prompts-38",
        )
    data = data.removeprefix(BYTE_ORDER_MARK)
    if (lines := data.count(b"\n")) > LINES_LIMIT:
        raise EvalkitError(
            f"The {kind} {path} has {lines:,} lines; expected at most {LINES_LIMIT:,}.",
            FORMATS,
            code="prompts-39",
        )
    text = decode_text(data, str(path))
    if path.suffix.lower() != ".json":  # a COCO file is one line
        for number, line in enumerate(data.split(b"\n"), 1):
            if len(line) > LINE_LIMIT:
                raise EvalkitError(
                    f"Line {number} of {path} has {len(line)} bytes; expected at most "
                    f"{LINE_LIMIT}.",
                    FORMATS,
                    code="prompts-40",
                )
    if not text.strip():
        raise EvalkitError(
            f"The {kind} {path} is empty; expected at least one line.", FORMATS, code="prompts-41"
        )
    return text


def decode_text(content: bytes, label: str) -> str:
    """UTF-8 as text, without a byte order mark. Raises EvalkitError that names the line."""
    content = content.removeprefix(BYTE_ORDER_MARK)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise EvalkitError(
            f"Line {line} of {label} is not valid UTF-8.",
            "Convert the file, for example with `iconv -t UTF-8`.",
            code="prompts-42",
        ) from error


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1.

    Only \\n and \\r\\n end a line; str.splitlines would also split at characters such as U+2028.
    """
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not is_blank(line):
            yield number, line


def is_blank(text: str) -> bool:
    """Whether a text has no visible character (zero-width spaces and the like are invisible)."""
    return all(c.isspace() or unicodedata.category(c) in ("Cf", "Cc") for c in text)


def parse_json(text: str, place: str, hint: str = FORMATS) -> Any:
    """The value of a JSON text. Raises EvalkitError with `place` and `hint` if it is invalid.

    An object with a key twice is invalid: one of the two values would be lost.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise EvalkitError(
                f"{place} has the key {twice!r:.100} twice in one object; expected each key once.",
                "Give each entry a key of its own, or write a list.",
                code="prompts-43",
            )
        return values

    if (values := sum(map(text.count, ",[{"))) > VALUES_LIMIT:
        raise EvalkitError(
            f"{place} has about {values:,} values; expected at most {VALUES_LIMIT:,}.",
            hint,
            code="prompts-44",
        )
    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "") or str(error)
        raise EvalkitError(
            f"{place} is not valid JSON: {reason}.", hint, code="prompts-45"
        ) from error
