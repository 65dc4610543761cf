"""Captions in text files named like the images: x.txt or x.json for x.png."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from evalkit import files
from evalkit.core import EvalkitError
from evalkit.prompts.text import decode_text, numbered_lines, parse_json

CAPTION_KEYS = ("caption", "text", "prompt", "captions")
TEXT_SUFFIXES = (".txt", ".json")
TEXT_LIMIT = 1 << 20  # bytes of the text for one image
EXPECTED = (
    "Expected x.txt beside x.png, captions.jsonl or .csv with file_name and caption "
    "(metadata.jsonl or .csv), COCO's captions.json, or tar shards of key.jpg with key.txt or "
    "key.json."
)


class Captions(NamedTuple):
    of: dict[str, list[str]]  # by the name of the image
    unmatched: list[str]  # names that have captions but no image


def captions_of_texts(
    texts: Iterable[tuple[str, bytes]], names: Iterable[str], place: str
) -> Captions:
    """Captions in files (name, content): .txt with one per line, or .json with a caption field.

    names: of the images. place: prefix of the file names in error messages.
    """
    plain: dict[str, list[str]] = {}
    structured: dict[str, list[str]] = {}
    for name, content in texts:
        label = f"{place}{name}"
        if name.lower().endswith(".txt"):
            found, captions = plain, _of_lines(decode_text(content, label), label)
        else:
            found, captions = structured, _of_object(decode_text(content, label), label)
        if captions:
            found[key_of(name)] = captions
    captions = structured | plain  # img2dataset writes both; the text is the caption
    keys = {name: key_of(name) for name in names}
    matched = set(keys.values())
    return Captions(
        {name: captions[key] for name, key in keys.items() if key in captions},
        [key for key in captions if key not in matched],
    )


def key_of(name: str) -> str:
    """A path without its last suffix.

    webdataset cuts at the first dot, which would cut v1.5-cat.png at v1.
    """
    return posixpath.splitext(name)[0]


def read_limited(path: Path, limit: int) -> bytes:
    try:
        return files.read_limited(path, limit)
    except OSError as error:
        raise EvalkitError(
            f"The captions {path} cannot be read: {error.strerror}.", EXPECTED, code="training-21"
        ) from error


def _of_lines(text: str, label: str) -> list[str]:
    return [
        caption
        for number, line in numbered_lines(text)
        for caption in cleaned(line, f"Line {number} of {label}")
    ]


def _of_object(text: str, label: str) -> list[str]:
    value = parse_json(text, label, EXPECTED)
    key = next((key for key in CAPTION_KEYS if isinstance(value, dict) and key in value), None)
    return [] if key is None else cleaned(value[key], label)


def cleaned(value: object, label: str) -> list[str]:
    """The captions of a string or a list of strings, stripped. Raises EvalkitError for others."""
    texts: Sequence[object] = (value or [""]) if isinstance(value, list) else [value]
    captions: list[str] = []
    for text in texts:
        if not isinstance(text, str):
            raise EvalkitError(
                f"{label} has a caption that is not text but {text!r:.60}.",
                EXPECTED,
                code="training-22",
            )
        if not text.strip():
            raise EvalkitError(
                f"{label} has an empty caption.", "Write one, or remove it.", code="training-23"
            )
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise EvalkitError(
                f"{label} has a caption with an incomplete character (a lone surrogate).",
                "Write it as UTF-8.",
                code="training-24",
            )
        captions.append(text.strip())
    return captions
