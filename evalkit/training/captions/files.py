"""Captions of the pictures in a folder: a text beside each picture, tables of all of them, or
COCO's annotations.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import EvalkitError
from evalkit.prompts import FILE_LIMIT, numbered_lines, parse_json

log = logging.getLogger(__name__)

TABLES = ("captions.jsonl", "metadata.jsonl", "captions.csv", "metadata.csv")
PICTURE_KEYS = ("file_name", "image", "file")
CAPTION_KEYS = ("caption", "text", "prompt", "captions")
TEXT_SUFFIXES = (".txt", ".json")
TEXT_LIMIT = 1 << 20  # bytes of the text beside one picture
EXPECTED = (
    "Expected x.txt beside x.png, captions.jsonl or .csv with file_name and caption (metadata.jsonl or .csv), COCO's captions.json, "
    "or tar shards of key.jpg with key.txt or key.json."
)


class Captions(NamedTuple):
    of: dict[str, list[str]]  # by the name of the picture
    astray: list[str]  # what has captions and no picture


def folder_captions(folder: Path, names: Sequence[str]) -> Captions:
    """The captions of the pictures `names` of a folder. Tables come before COCO's file, and both
    before texts beside the pictures.
    """
    files, keys = _files_below(folder), {key_of(name) for name in names}
    texts = [
        file for file in files if file.lower().endswith(TEXT_SUFFIXES) and key_of(file) in keys
    ]
    others = [file for file in files if key_of(file) not in keys]
    rows = [
        row
        for file in others
        if posixpath.basename(file).lower() in TABLES
        for row in _table(folder, file)
    ]
    rows = rows or [row for file in _annotations(others) for row in _coco(folder, file, names)]
    if not rows:
        of, _ = beside(
            ((file, _limited(folder / file, TEXT_LIMIT)) for file in texts), names, f"{folder}/"
        )
        return Captions(of, [file for file in others if file.lower().endswith(".txt")])
    if texts:
        log.warning(
            "%s has captions in a file of all pictures: %d texts such as %s are passed over",
            folder,
            len(texts),
            texts[0],
        )
    found: dict[str, list[str]] = {}
    for picture, captions in rows:  # in paths below the folder
        found.setdefault(picture, []).extend(captions)
    return Captions(
        {name: found[name] for name in names if name in found}, sorted(found.keys() - set(names))
    )


def beside(texts: Iterable[tuple[str, bytes]], names: Iterable[str], place: str) -> Captions:
    """Captions of files (name, content) that are named as a picture is: .txt with one a line, or
    .json that has a caption in it.
    """
    plain: dict[str, list[str]] = {}
    structured: dict[str, list[str]] = {}
    for name, content in texts:
        found, kind = (
            (_of_lines, plain) if name.lower().endswith(".txt") else (_of_object, structured)
        )
        if captions := found(text_of(content, f"{place}{name}"), f"{place}{name}"):
            kind[key_of(name)] = captions
    captions = structured | plain  # img2dataset writes both: the text is what training reads
    pictures = [(name, key_of(name)) for name in names]
    keys = {key for _, key in pictures}
    return Captions(
        {name: captions[key] for name, key in pictures if key in captions},
        [key for key in captions if key not in keys],
    )


def key_of(name: str) -> str:
    """A path without its last suffix. (webdataset cuts at the first dot, which tears names such as
    v1.5-cat.png apart.)
    """
    return posixpath.splitext(name)[0]


def text_of(content: bytes, label: str) -> str:
    try:
        return content.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise EvalkitError(
            f"Line {line} of {label} is not valid UTF-8.",
            "Convert the file, for example with `iconv -t UTF-8`.",
        ) from error


def _of_lines(text: str, label: str) -> list[str]:
    return [
        caption
        for number, line in numbered_lines(text)
        for caption in _cleaned(line, f"Line {number} of {label}")
    ]


def _of_object(text: str, label: str) -> list[str]:
    value = parse_json(text, label, EXPECTED)
    key = next((key for key in CAPTION_KEYS if isinstance(value, dict) and key in value), None)
    return [] if key is None else _cleaned(value[key], label)


def _table(folder: Path, file: str) -> Iterator[tuple[str, list[str]]]:
    """Rows of a .jsonl or .csv, whose paths begin in its own folder, as those of Hugging Face's
    imagefolder do.
    """
    path = folder / file
    text = text_of(_limited(path, FILE_LIMIT), str(path))
    for place, fields in (
        _objects(text, path) if path.suffix.lower() == ".jsonl" else _records(text, path)
    ):
        picture, caption = (
            next((fields[key] for key in keys if key in fields), None)
            for keys in (PICTURE_KEYS, CAPTION_KEYS)
        )
        for value, kind, keys in (
            (caption, "caption", CAPTION_KEYS),
            (picture, "picture", PICTURE_KEYS),
        ):
            if value is None or (kind == "picture" and not isinstance(value, str)):
                raise EvalkitError(
                    f"{place} has no {kind}; expected a text under one of: {', '.join(keys)}.",
                    EXPECTED,
                )
        yield (
            posixpath.normpath(posixpath.join(posixpath.dirname(file), str(picture))),
            _cleaned(caption, place),
        )


def _objects(text: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in numbered_lines(text):
        value = parse_json(line, place := f"Line {number} of {path}", EXPECTED)
        yield place, value if isinstance(value, dict) else {}  # which has no caption


def _records(text: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip().lower() for column in next(rows, [])]
        for row in rows:
            if not any(field.strip() for field in row):
                continue
            place = f"Line {rows.line_num} of {path}"
            if len(row) != len(header) or len(set(header)) < len(header):
                hint = "Put captions that hold a comma in double quotes, and name each column once."
                raise EvalkitError(
                    f"{place} has {len(row)} fields; expected those of the columns {', '.join(header)}.",
                    hint,
                )
            yield place, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise EvalkitError(
            f"Line {rows.line_num} of {path} is not valid CSV: {error}.", EXPECTED
        ) from error


def _annotations(files: Sequence[str]) -> list[str]:
    """The files that may be COCO's: captions*.json here or in annotations/, else any .json here."""
    near = [
        file
        for file in files
        if file.endswith(".json") and posixpath.dirname(file) in ("", "annotations")
    ]
    return [file for file in near if posixpath.basename(file).startswith("captions")] or [
        file for file in near if "/" not in file
    ]


def _coco(folder: Path, file: str, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The captions of COCO's json, by the order of their ids; nothing for another kind of json that
    nobody named captions.
    """
    path = folder / file
    value = parse_json(text_of(_limited(path, FILE_LIMIT), str(path)), str(path), EXPECTED)
    if not (
        isinstance(value, dict) and "images" in value and "annotations" in value
    ) and not path.name.startswith("captions"):
        return
    try:
        files = {image["id"]: image["file_name"] for image in value["images"]}
        notes = [(note["id"], note["image_id"], note["caption"]) for note in value["annotations"]]
        notes.sort(key=lambda note: note[0])
        rows = [
            (number, str(files.get(image, f"image {image}")), caption)
            for number, image, caption in notes
        ]
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        message = f"{path} does not hold COCO captions; expected images with id and file_name, annotations with id, image_id and caption."
        raise EvalkitError(message, EXPECTED) from error
    places: dict[
        str, list[str]
    ] = {}  # COCO writes bare names, whatever folder (train2017, ...) the pictures are in
    for name in names:
        places.setdefault(posixpath.basename(name), []).append(name)
    known = set(names)
    for number, name, caption in rows:
        near = [
            posixpath.normpath(posixpath.join(start, name))
            for start in (posixpath.dirname(file), "")
        ]
        found = [place for place in near if place in known][:1] or places.get(name, [name])
        if len(found) > 1:
            raise EvalkitError(
                f"{path} names {name!r}, and there are {found[0]} and {found[1]}.",
                "Write the folder before it.",
            )
        yield found[0], _cleaned(caption, f"Annotation {number} of {path}")


def _files_below(folder: Path) -> list[str]:
    """The paths of all files below a folder, sorted; hidden ones are left out."""
    found: list[str] = []
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            (Path(root) / name).relative_to(folder).as_posix()
            for name in files
            if not name.startswith(".")
        ]
    return sorted(found)


def _limited(path: Path, limit: int) -> bytes:
    try:
        if (size := path.stat().st_size) > limit:
            raise EvalkitError(
                f"The captions {path} have {size / 2**20:.0f} MiB; expected at most {limit >> 20}.",
                EXPECTED,
            )
        return path.read_bytes()
    except OSError as error:
        raise EvalkitError(
            f"The captions {path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error


def _cleaned(value: object, label: str) -> list[str]:
    """The captions of a text or a list of texts, without blanks around them."""
    texts: Sequence[object] = (value or [""]) if isinstance(value, list) else [value]
    captions: list[str] = []
    for text in texts:
        if not isinstance(text, str):
            raise EvalkitError(
                f"{label} has a caption that is not a text but {text!r:.60}.", EXPECTED
            )
        if not text.strip():
            raise EvalkitError(
                f"{label} has a caption that is empty.", "Write one, or take it out."
            )
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise EvalkitError(
                f"{label} has a caption with half a character (a lone surrogate).",
                "Write it as UTF-8.",
            )
        captions.append(text.strip())
    return captions
