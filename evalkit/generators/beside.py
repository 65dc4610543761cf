"""Prompts in files beside images: one text file or JSON per image, or per folder (GenEval)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.files import read_limited
from evalkit.generators.embedded import of_parameters
from evalkit.prompts.columns import TEXT_KEYS

_MOST = 8 << 20  # bytes; ComfyUI writes its whole graph


def beside(file: Path) -> tuple[str, Path] | None:
    """The prompt in a text file or in JSON beside an image, and that file; None without one.

    The file has the name of the image with another suffix, or with a further one (`0.png.txt`).
    """
    for suffix in (".txt", ".caption"):
        for side in (file.with_suffix(suffix), file.with_name(file.name + suffix)):
            if os.path.isfile(side):  # unlike Path.is_file, takes names that are too long
                text = of_parameters(_text(side))
                return (text, side) if text else None
    for side in (file.with_suffix(".json"), file.with_name(f"{file.name}.json")):
        try:
            row = json.loads(read_limited(side, _MOST))
        except (OSError, ValueError, RecursionError):
            continue
        texts = [row[key] for key in TEXT_KEYS if key in row] if isinstance(row, dict) else []
        if texts and isinstance(texts[0], str) and texts[0]:
            return texts[0], side
    return None


def of_geneval(folder: Path, files: Sequence[Path]) -> list[tuple[Path, str]]:
    """(file, prompt) of `NUMBER/samples/NUMBER.png`, [] for another layout."""
    found: list[tuple[Path, str]] = []
    for file in files:
        place = file.parent.parent / "metadata.jsonl"
        if file.parent.name != "samples" or file.parent.parent == folder:
            return []
        if not place.is_file():
            continue
        try:
            found.append((file, str(json.loads(_text(place).splitlines()[0])["prompt"])))
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise EvalkitError(
                f"{place} has no prompt; expected an object with prompt, as GenEval writes it.",
                "Copy the file again, or delete it.",
                code="generators-1",
            ) from error
    return found


def _text(path: Path) -> str:
    try:
        return read_limited(path, _MOST).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EvalkitError(
            f"{path} cannot be read as UTF-8 text.", "Save it as UTF-8.", code="generators-2"
        ) from error
    except OSError as error:
        raise EvalkitError(
            f"{path} cannot be read: {error.strerror}.",
            "Check its permissions: it may hold the prompt of an image.",
            code="generators-3",
        ) from error
