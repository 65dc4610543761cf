"""Lists that a folder of images has of its own: which file was made for which prompt.

- `prompts.jsonl`, `captions.jsonl`, `metadata.jsonl` and `metadata.csv` (Hugging Face imagefolder):
  a file name, and the prompt or its id.
- A run of evalkit: its manifests and prompts.
- GenEval: `00000/metadata.jsonl` beside `00000/samples/0000.png`.
- A text file beside every image (`a.png`, `a.txt`).
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError, Refusal, Request
from evalkit.generators.file_names import exact
from evalkit.generators.numbers import Matched
from evalkit.generators.pairing import Pairing, assign, by_texts
from evalkit.prompts.columns import TEXT_KEYS
from evalkit.run_folder import Run

NAMES = ("prompts.jsonl", "metadata.jsonl", "metadata.csv", "captions.jsonl")
_FILE_KEYS = ("file", "file_name", "filename", "image", "path")
_ID_KEYS = ("id", "prompt_id")


def listed(folder: Path, files: Sequence[Path], requests: Sequence[Request]) -> Pairing | None:
    """The pairing that the folder itself states; None where it states nothing.

    Raises:
        EvalkitError: a list that cannot be read, names a file twice, or one that is not there.
    """
    if (folder / "model.json").is_file() and (folder.parent.parent / "prompts.jsonl").is_file():
        return Pairing(_of_run(folder, requests), "the prompts of its run")
    for name in NAMES:
        if (folder / name).is_file():
            return Pairing(_of_list(folder / name, requests), f"its {name}")
    if texts := _of_geneval(folder, files):
        return Pairing(by_texts(texts, requests), "its metadata.jsonl files (GenEval)")
    texts = [(file, side) for file in files if (side := file.with_suffix(".txt")).is_file()]
    beside = by_texts(((file, _text(side)) for file, side in texts), requests)
    if beside:  # texts of another kind may lie there too
        return Pairing(beside, "the text file beside each image")
    return None


def _of_run(folder: Path, requests: Sequence[Request]) -> Matched:
    run = Run(folder.parent.parent)
    label = str(json.loads((folder / "model.json").read_text(encoding="utf-8"))["label"])
    prompts = run.prompts()
    by_text: dict[str, list[Path | Refusal]] = {}
    for record in run.records(label):
        item = (
            folder / record.file if record.status == "ok" else Refusal(record.status, record.detail)
        )
        by_text.setdefault(prompts[record.index].text, []).append(item)
    return assign(by_text, requests, lambda request: request.prompt.text)


def _of_list(path: Path, requests: Sequence[Request]) -> Matched:
    by_id: dict[str, list[Path | Refusal]] = {}
    by_text: dict[str, list[Path | Refusal]] = {}
    lines: dict[Path, int] = {}
    ids = {request.prompt.id: exact(request.prompt.text) for request in requests}
    for number, row in _rows(path):
        place = f"Line {number} of {path}"
        try:
            name = next(row[key] for key in _FILE_KEYS if key in row)
            file = Path(os.path.normpath(path.parent / name))
            own = next((str(row[key]) for key in _ID_KEYS if key in row), "")
            text = next((exact(row[key]) for key in TEXT_KEYS if key in row), "")
            if not (own or text):
                raise StopIteration
        except (TypeError, AttributeError, StopIteration) as error:
            raise EvalkitError(
                f"{place} is not an object with file, and id or prompt.",
                'For example {"file": "a.png", "prompt": "a red cube"}.',
            ) from error
        inside = file.resolve().is_relative_to(path.parent.resolve())
        if not inside or not file.is_file():
            raise EvalkitError(f"{place} names {name!r}, which is not a file in the folder.")
        if lines.setdefault(file, number) != number:
            raise EvalkitError(
                f"{place} names {name!r}, and so does line {lines[file]}.",
                "An image has one prompt; name each file once.",
            )
        if text and own in ids and ids[own] != text:
            raise EvalkitError(
                f"{place} names the prompt {own!r} and another text than this prompt has:"
                f" {text[:60]!r}.",
                "Leave out the id or the text.",
            )
        group, key = (by_id, own) if not text or own in ids else (by_text, text)
        group.setdefault(key, []).append(file)
    return assign(by_text, requests, lambda request: exact(request.prompt.text)) | assign(
        by_id, requests, lambda request: request.prompt.id
    )


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a list with their line numbers."""
    if path.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
        try:
            if len({*(reader.fieldnames or ())}) < len(reader.fieldnames or ()):
                raise EvalkitError(f"{path} has a column twice; expected each column once.")
            for row in reader:
                if None in row or None in row.values():
                    raise EvalkitError(
                        f"Line {reader.line_num} of {path} has not as many fields as the header.",
                        "Put prompts that contain a comma in double quotes.",
                    )
                yield reader.line_num, row
        except csv.Error as error:
            raise EvalkitError(f"Line {reader.line_num} of {path} is not CSV: {error}.") from error
        return
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield number, row if isinstance(row, dict) else {}


def _of_geneval(folder: Path, files: Sequence[Path]) -> list[tuple[Path, str]]:
    """(file, prompt) of `NUMBER/samples/NUMBER.png`, [] for another layout."""
    found: list[tuple[Path, str]] = []
    for file in files:
        place = file.parent.parent / "metadata.jsonl"
        if file.parent.name != "samples" or place.parent.parent != folder or not place.is_file():
            return []
        try:
            found.append((file, str(json.loads(_text(place).splitlines()[0])["prompt"])))
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise EvalkitError(
                f"{place} has no prompt; expected an object with prompt, as GenEval writes it."
            ) from error
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise EvalkitError(f"{path} cannot be read as UTF-8 text.", "Save it as UTF-8.") from error
