"""Prompt lists: txt, jsonl, csv, tsv and COCO captions, and the bundled suite.

Invalid input is an error; nothing is repaired silently.
"""

from __future__ import annotations

import csv
import importlib.resources
import io
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import EvalkitError, Prompt

LINE_LIMIT = 64 * 1024  # bytes; a longer line means that the file is not a prompt list
FILE_LIMIT = 512 * 1024 * 1024  # bytes
SUITE = "suite"  # the prompts in scenes/suite.jsonl; "suite:count" is the group "count"
TEXT_KEYS = ("prompt", "caption", "text", "captions")
_MAGIC = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip file",
}
_FORMATS = (
    "Expected UTF-8 text with one prompt per line, .jsonl, .csv, .tsv, or COCO captions in .json."
)


class _Row(NamedTuple):
    place: str  # for messages: "line 7"
    text: object
    id: object = None  # None: the position becomes the id
    group: object = ""


def read_prompts(path: Path | str) -> list[Prompt]:
    """All prompts of a file in order, with duplicates. A prompt without an id gets its position.

    `suite` is the bundled list of prompts and `suite:GROUP` one group of it. A file with the name
    "suite" is `./suite`.
    """
    if is_bundled(str(path)):
        return _suite(str(path))
    path = Path(path)
    text = _read_text(path)
    readers = {
        ".jsonl": _jsonl,
        ".ndjson": _jsonl,
        ".csv": _table,
        ".tsv": _table,
        ".json": _coco,
    }
    return _prompts(readers.get(path.suffix.lower(), _txt)(text, path), str(path))


def is_bundled(name: str) -> bool:
    """Whether a name means bundled prompts and not a file."""
    return name.partition(":")[0] == SUITE


def _suite(name: str) -> list[Prompt]:
    path = Path(str(importlib.resources.files("evalkit"))) / "scenes" / "suite.jsonl"
    prompts, group = read_prompts(path), name.partition(":")[2]
    groups = list(dict.fromkeys(prompt.group for prompt in prompts))
    if name != SUITE and group not in groups:
        raise EvalkitError(
            f"The bundled prompts have no group {group!r}.",
            f"Groups of {SUITE}: {', '.join(groups)}.",
        )
    return [prompt for prompt in prompts if group in ("", prompt.group)]


def prompts_from_list(items: Iterable[str | Prompt]) -> list[Prompt]:
    """Prompts from Python. The id of a plain text is its position; a `Prompt` keeps its id."""
    if isinstance(items, str):
        raise EvalkitError(
            "The prompts are one string; expected a list of strings.",
            "Write prompts=[...], or give the path of a file to Config.",
        )
    rows = [
        _Row(f"item {number}", item.text, item.id, item.group)
        if isinstance(item, Prompt)
        else _Row(f"item {number}", item)
        for number, item in enumerate(items, 1)
    ]
    return _prompts(rows, "the prompt list")


def duplicate_count(prompts: Sequence[Prompt]) -> int:
    """The number of prompts with the text of an earlier prompt."""
    return len(prompts) - len({prompt.text for prompt in prompts})


def _read_text(path: Path) -> str:
    """The decoded text of a file. Raises EvalkitError unless it is UTF-8 text with short lines."""
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError):  # a name that no file can have: too long, or with a NUL
        is_folder = exists = False
    if is_folder:
        raise EvalkitError(f"The prompts {path} are a folder; expected a file.", _FORMATS)
    if not exists:
        raise EvalkitError(
            f"There is no prompts file {path!s:.200}.",
            "Check the path, or list the files in its folder.",
        )
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise EvalkitError(
                f"The prompts file {path} has {path.stat().st_size >> 20} MiB; expected at most "
                f"{FILE_LIMIT >> 20}.",
                _FORMATS,
            )
        data = path.read_bytes()
    except OSError as error:
        raise EvalkitError(
            f"The prompts file {path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error
    kind = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), "")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        kind = "UTF-16 text"
    if kind or b"\0" in data:
        raise EvalkitError(
            f"The prompts file {path} is {kind or 'a binary file (it contains NUL bytes)'}; "
            "expected UTF-8 text.",
            _FORMATS,
        )
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise EvalkitError(
            f"Line {line} of {path} is not valid UTF-8.",
            "Convert the file, for example with `iconv -t UTF-8`.",
        ) from error
    if path.suffix.lower() != ".json":  # a COCO file is one line
        for number, line in enumerate(data.split(b"\n"), 1):
            if len(line) > LINE_LIMIT:
                raise EvalkitError(
                    f"Line {number} of {path} has {len(line)} bytes; expected at most "
                    f"{LINE_LIMIT}.",
                    _FORMATS,
                )
    if not text.strip():
        raise EvalkitError(
            f"The prompts file {path} is empty; expected at least one prompt.", _FORMATS
        )
    return text


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1.

    Only \\n and \\r\\n end a line; str.splitlines would also split at characters such as U+2028.
    """
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not _is_blank(line):
            yield number, line


def _is_blank(text: str) -> bool:
    """Whether a text has no visible character (zero-width spaces and the like are invisible)."""
    return all(c.isspace() or unicodedata.category(c) in ("Cf", "Cc") for c in text)


def _txt(text: str, path: Path) -> Iterator[_Row]:
    return (_Row(f"line {number}", line) for number, line in numbered_lines(text))


def _jsonl(text: str, path: Path) -> Iterator[_Row]:
    for number, line in numbered_lines(text):
        value = parse_json(line, f"Line {number} of {path}")
        key = next((key for key in TEXT_KEYS if isinstance(value, dict) and key in value), None)
        if key is None:
            raise EvalkitError(
                f"Line {number} of {path} has no prompt; expected an object with one of: "
                f"{', '.join(TEXT_KEYS)}.",
                _FORMATS,
            )
        found = value[key]
        if isinstance(found, list) and found:  # the first of several captions, like COCO
            found = found[0]
        yield _Row(f"line {number}", found, value.get("id"), value.get("group") or "")


def _table(text: str, path: Path) -> Iterator[_Row]:
    """The rows of a CSV file, or of a TSV file such as PartiPrompts, which quotes nothing."""
    if path.suffix.lower() == ".tsv":
        lines = io.StringIO(text.replace("\r\n", "\n"), newline="\n")
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip().lower() for column in next(rows)]
        key = next((key for key in TEXT_KEYS if key in header), None)
        if key is None or len(set(header)) < len(header):
            raise EvalkitError(
                f"{path} has the columns {', '.join(header)}; expected one of "
                f"{', '.join(TEXT_KEYS)}, and each column once.",
                _FORMATS,
            )
        for row in rows:
            place = f"line {rows.line_num}"
            if not any(field.strip() for field in row):
                continue
            if len(row) != len(header):
                hint = "Put prompts that contain a comma in double quotes."
                raise EvalkitError(
                    f"L{place[1:]} of {path} has {len(row)} fields; expected {len(header)}.", hint
                )
            fields = dict(zip(header, row, strict=True))
            group = fields.get("group", fields.get("category", ""))
            yield _Row(place, fields[key], fields.get("id"), group.strip())
    except csv.Error as error:
        raise EvalkitError(
            f"Line {rows.line_num} of {path} is not a valid table: {error}.", _FORMATS
        ) from error


def _coco(text: str, path: Path) -> Iterator[_Row]:
    """The first caption of each image. Images and captions are sorted by id."""
    value = parse_json(text, str(path))
    try:
        images = sorted({image["id"] for image in value["images"]})
        known = set(images)
        first: dict[Any, Any] = {}
        for caption in sorted(value["annotations"], key=lambda caption: caption["id"]):
            first.setdefault(caption["image_id"], caption["caption"])
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise EvalkitError(
            f"{path} does not contain COCO captions; expected images with an id, and annotations "
            "with id, image_id and caption.",
            "Save other JSON as a .jsonl file with one object per line.",
        ) from error
    unlisted = [image for image in first if image not in known]
    if unlisted:
        raise EvalkitError(
            f"{path} has captions for {len(unlisted)} images that it does not list, such as "
            f"{unlisted[0]!r}.",
            _FORMATS,
        )
    return (_Row(f"image {image}", first[image], image) for image in images if image in first)


def parse_json(text: str, place: str, hint: str = _FORMATS) -> Any:
    """The value of a JSON text. Raises EvalkitError with `place` and `hint` if it is invalid."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "") or str(error)
        raise EvalkitError(f"{place} is not valid JSON: {reason}.", hint) from error


def _prompts(rows: Iterable[_Row], source: str) -> list[Prompt]:
    """Check texts, ids and groups, and make them prompts."""
    prompts: list[Prompt] = []
    places: dict[str, str] = {}
    for position, row in enumerate(rows):
        label = f"{row.place[0].upper()}{row.place[1:]} of {source}"
        if isinstance(row.id, bool) or not isinstance(row.id, str | int | None):
            raise EvalkitError(
                f"{label} has the id {row.id!r}; expected a text or a whole number.",
                "Give each prompt a different id, or omit the ids.",
            )
        text = _clean(row.text, f"{label} has a prompt that")
        number = _clean(
            f"{position:05d}" if row.id is None else str(row.id), f"{label} has an id that"
        )
        group = _clean(row.group, f"{label} has a group that") if row.group != "" else ""
        if len(number) > 200:
            raise EvalkitError(
                f"{label} has an id of {len(number)} characters; expected at most 200.",
                "Give each prompt a short id, or omit the ids.",
            )
        if number in places:
            raise EvalkitError(
                f"{label} has the id {number!r} of {places[number]}; expected each id once.",
                "Give each prompt a different id, or omit the ids.",
            )
        places[number] = row.place
        prompts.append(Prompt(number, text, group))
    if not prompts:
        raise EvalkitError(f"{source} has no prompt; expected at least one.", _FORMATS)
    return prompts


def _clean(text: object, subject: str) -> str:
    """The text without surrounding blanks. Raises EvalkitError that begins with `subject`."""
    if not isinstance(text, str):
        raise EvalkitError(f"{subject} is not a text but {text!r:.60}.", _FORMATS)
    text = text.strip(" \t\r\n\u00a0\u3000")
    if _is_blank(text):
        raise EvalkitError(f"{subject} is empty.", "Write a text, or delete the line.")
    for character in text:
        category = unicodedata.category(character)
        if category == "Cs" or (category == "Cc" and character != "\t"):
            raise EvalkitError(
                f"{subject} contains the control character U+{ord(character):04X}.",
                "Delete it; a prompt is one line of text.",
            )
    if len(text.encode()) > LINE_LIMIT:
        raise EvalkitError(
            f"{subject} has {len(text.encode())} bytes; expected at most {LINE_LIMIT}.", _FORMATS
        )
    return text
