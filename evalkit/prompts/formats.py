"""The rows of a prompt list, by format.

- `.txt`: one prompt per line. `.jsonl`: an object or a text per line. `.json`: a list of these, a
  mapping of ids, or COCO captions. `.csv`, `.tsv`: with a header. `.parquet`: as Hugging Face has
  it. A folder of `.txt` files with one prompt each (DPG-Bench).
- Known by their columns: PartiPrompts (Prompt, Category), GenEval (prompt, tag), GenEval 2
  (prompt, atom_count), DSG and TIFA (one row per question: one prompt each).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import EvalkitError
from evalkit.files import kind_of_text
from evalkit.hints import a_type, plural
from evalkit.prompts.columns import ATOMS, TEXT_KEYS, find_columns
from evalkit.prompts.tables import Numbered, parquet_rows, table
from evalkit.prompts.text import FORMATS, numbered_lines, parse_json, read_text


class Row(NamedTuple):
    """One prompt before it is checked."""

    place: str  # for messages: "line 7"
    text: object
    id: object = None  # None: the position becomes the id
    group: object = ""


def rows_of(path: Path, text_column: str = "", group_column: str = "") -> Iterable[Row]:
    """The rows of a prompt list. Raises EvalkitError for what is not one."""
    if os.path.isdir(path):  # unlike Path.is_dir, takes names that none can have
        return _folder(path)
    if path.suffix.lower() == ".parquet" and os.path.isfile(path):
        return _of_objects(parquet_rows(path), str(path), text_column, group_column)
    return rows_in(read_text(path), path, text_column, group_column)


def rows_in(text: str, path: Path, text_column: str = "", group_column: str = "") -> Iterable[Row]:
    """The rows of the text of a prompt list; the name of its file decides on the format."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        value = parse_json(text, str(path))
        if isinstance(value, dict) and "annotations" in value:
            return _coco(value, path)
        return _of_objects(_json(value, path), str(path), text_column, group_column)
    if suffix in TABLES:
        return _of_objects(_objects_in(text, path), str(path), text_column, group_column)
    if text_column or group_column:
        raise EvalkitError(
            f"{path} is read as text with one prompt per line, which has no columns.",
            "Rename a table to .csv or .tsv, or leave out --text-column and --group-column.",
            code="prompts-14",
        )
    return _lines(text, path)


OTHERS = {
    **dict.fromkeys((".yaml", ".yml"), "YAML"),
    **{".toml": "TOML", ".xml": "XML", ".html": "HTML", ".rtf": "RTF", ".py": "Python"},
}
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")


def objects_of(path: Path, kind: str = "prompts file") -> Iterator[Numbered]:
    """The rows of a table, or the objects of JSON, as in TABLES. Raises EvalkitError.

    kind: what the file is, for messages.
    """
    if path.suffix.lower() == ".parquet" and os.path.isfile(path):
        return parquet_rows(path)
    return _objects_in(read_text(path, kind), path)


def _objects_in(text: str, path: Path) -> Iterator[Numbered]:
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return table(text, path)
    if suffix == ".json":
        return _json(parse_json(text, str(path)), path)
    return _json_lines(text, path)


def _lines(text: str, path: Path) -> list[Row]:
    """One prompt per line. A table or JSON under this name is refused, not read as prompts."""
    lines = list(numbered_lines(text))
    kind = kind_of_text(text[:4096].encode()) or OTHERS.get(path.suffix.lower(), "")
    if kind or text.startswith("{\\rtf"):
        raise EvalkitError(
            f"{path} is {kind or 'RTF'}; expected text with one prompt per line.",
            "Download or save it again as plain text.",
            code="prompts-15",
        )
    if text.lstrip()[:1] in ("[", "{") and _is_json(text):
        raise EvalkitError(
            f"{path} is read as text with one prompt per line, but it is JSON.",
            "Rename it to .json, or to .jsonl if each line is an object.",
            code="prompts-16",
        )
    if len(lines) < 2:
        return [Row(f"line {number}", line) for number, line in lines]
    for kind, suffix, good in (
        ("tabs", ".tsv", all("\t" in line for _, line in lines)),
        ("JSON objects", ".jsonl", all(_is_object(line) for _, line in lines)),
        ("the header of a table", ".csv", _is_header(lines[0][1])),
    ):
        if good:
            where = "its first line is" if suffix == ".csv" else "every line has"
            raise EvalkitError(
                f"{path} is read as text with one prompt per line, but {where} {kind}.",
                f"Rename it to {suffix}.",
                code="prompts-17",
            )
    return [Row(f"line {number}", line) for number, line in lines]


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list | dict)
    except (ValueError, RecursionError):
        return False


def _is_object(line: str) -> bool:
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_header(line: str) -> bool:
    names = [name.strip().strip('"').lower() for name in re.split("[,;]", line)]
    return (
        len(names) > 1
        and all(name.replace("_", "").isalnum() for name in names)
        and any(name in TEXT_KEYS for name in names)
    )


def _json_lines(text: str, path: Path) -> Iterator[Numbered]:
    for number, line in numbered_lines(text):
        value = parse_json(line, f"Line {number} of {path}")
        yield _object(value, f"line {number}", path)


def _json(value: object, path: Path) -> Iterator[Numbered]:
    """The objects of a list, of `{"prompts": [...]}`, or of a mapping of ids or of groups."""
    if isinstance(value, dict) and isinstance(value.get("prompts"), list):
        value = value["prompts"]
    if isinstance(value, list):
        return (_object(item, f"item {at}", path) for at, item in enumerate(value, 1))
    if isinstance(value, dict) and any(isinstance(value.get(key), str) for key in TEXT_KEYS):
        return iter([Numbered("the object", value)])
    if isinstance(value, dict) and any(key.lower() in TEXT_KEYS for key in value):
        return _of_columns(value, path)
    if isinstance(value, dict) and value and all(isinstance(item, list) for item in value.values()):
        return (  # HPSv2: the prompts of each style
            Numbered(place, {"group": group, **values})
            for group, items in value.items()
            for at, item in enumerate(items, 1)
            for place, values in [_object(item, f"item {at} of {group}", path)]
        )
    if isinstance(value, dict):
        return (
            Numbered(place, {"id": key, **values})
            for key, item in value.items()
            for place, values in [_object(item, f"item {key}", path)]
        )
    raise EvalkitError(
        f"{path} contains {a_type(value)} as JSON; expected a list of prompts, or COCO captions.",
        FORMATS,
        code="prompts-18",
    )


def _of_columns(value: dict[str, Any], path: Path) -> Iterator[Numbered]:
    """The rows of `{"prompt": ["a", "b"], "category": [...]}`, as pandas and `datasets` write."""
    columns = {
        key: list(item.values()) if isinstance(item, dict) else item for key, item in value.items()
    }
    if not all(isinstance(item, list) for item in columns.values()) or (
        len(set(map(len, columns.values()))) > 1
    ):
        raise EvalkitError(
            f"{path} has the keys {', '.join(columns)}; expected lists of the same length.",
            FORMATS,
            code="prompts-19",
        )
    for number, row in enumerate(zip(*columns.values(), strict=True), 1):
        yield Numbered(f"row {number}", dict(zip(columns, row, strict=True)))


def _object(value: object, place: str, path: Path) -> Numbered:
    if isinstance(value, str):
        return Numbered(place, {"prompt": value})
    if not isinstance(value, dict):
        raise EvalkitError(
            f"{place[0].upper()}{place[1:]} of {path} is {value!r:.60}; expected an object with one"
            f" of: {', '.join(TEXT_KEYS)}.",
            FORMATS,
            code="prompts-20",
        )
    return Numbered(place, value)


def _of_objects(
    items: Iterable[Numbered], source: str, text_column: str, group_column: str
) -> list[Row]:
    """One row per prompt; each object's own keys decide, as lists may be mixed."""
    known: dict[str, str] = {}  # of lists with one row per question: id -> text
    groups: dict[str, object] = {}
    rows: list[Row] = []
    of_questions = False  # whether the groups are those of the questions
    for place, values in items:
        table = source.lower().endswith((".csv", ".tsv", ".parquet"))  # one header for all rows
        where = source if table else f"{place[0].upper()}{place[1:]} of {source}"
        names = find_columns(list(values), where, text_column, group_column)
        text = values[names.text]
        if isinstance(text, list) and text:  # the first of several captions, like COCO
            text = text[0]
        own = values.get(names.id) if names.id else None
        own = own if own != "" else None
        group = _group(values.get(names.group))
        if group and names.group.strip().lower() == ATOMS:
            group = f"{group} atoms"
        if names.questions and isinstance(text, str):
            key = text if own is None else str(own)
            if key in known and known[key] == text:
                of_questions |= groups[key] != group
                continue  # another question about the same prompt
            if key not in known:
                known[key], groups[key] = text, group
        rows.append(Row(place, text, own, group))
    if of_questions and group_column:
        raise EvalkitError(
            f"{source} has several values of {group_column!r} for one prompt: this column groups"
            " the questions of a prompt, not the prompts.",
            "Name a column that groups the prompts with --group-column.",
            code="prompts-21",
        )
    return [row._replace(group="") for row in rows] if of_questions else rows


def _group(value: object) -> object:
    """A group as text; a list of tags is one group with all of them."""
    if isinstance(value, list):
        return ", ".join(dict.fromkeys(str(item) for item in value if item is not None))
    if value is None or value == "" or value != value:  # NaN, as pandas writes for none
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else value


def _coco(value: Mapping[str, Any], path: Path) -> Iterator[Row]:
    """The first caption of each image. Images and captions are sorted by id."""
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
            code="prompts-22",
        ) from error
    unlisted = [image for image in first if image not in known]
    if unlisted:
        raise EvalkitError(
            f"{path} has captions for {plural(len(unlisted), 'image')} that it does not list, such"
            f" as {unlisted[0]!r}.",
            FORMATS,
            code="prompts-23",
        )
    return (Row(f"image {image}", first[image], image) for image in images if image in first)


def _folder(path: Path) -> list[Row]:
    """One prompt per text file, with the file's name as its id (DPG-Bench)."""
    files = sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() == ".txt" and not file.name.startswith(".") and file.is_file()
    )
    if not files:
        raise EvalkitError(
            f"The prompt folder {path} has no .txt files.", FORMATS, code="prompts-24"
        )
    rows = []
    for file in files:
        lines = [line for _, line in numbered_lines(read_text(file))]
        if len(lines) != 1:
            raise EvalkitError(
                f"{file} has {len(lines)} lines; in a folder, each file holds one prompt.",
                f"To read its lines as prompts, name the file itself: `--prompts {file}`.",
                code="prompts-25",
            )
        rows.append(Row(f"file {file.name}", lines[0], file.stem))
    return rows
