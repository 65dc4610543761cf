"""Lists that a folder of images has of its own: which file was made for which prompt.

- `metadata.jsonl` and `metadata.csv` (Hugging Face imagefolder), `captions` or `prompts`, also as
  .json, .tsv or .parquet: a file name, and the prompt or its id.
- A run of evalkit: its manifests and prompts.
- GenEval: `00000/metadata.jsonl` beside `00000/samples/0000.png`.
- A text file beside every image (`a.png`, `a.txt` or `a.caption`), or its JSON with a prompt.
- A prompt list without file names, which numbers in file names must not contradict.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from evalkit.core import EvalkitError, Refusal, Request
from evalkit.generators.file_names import exact
from evalkit.generators.numbers import Matched
from evalkit.generators.pairing import Pairing, assign, by_texts
from evalkit.prompts import read_prompts
from evalkit.prompts.columns import TEXT_KEYS
from evalkit.prompts.formats import TABLES, objects_of
from evalkit.run_folder import Run

NAMES = tuple(f"{stem}{kind}" for stem in ("prompts", "metadata", "captions") for kind in TABLES)
_FILE_KEYS = ("file", "file_name", "filename", "image", "path")
_ID_KEYS = ("id", "prompt_id")
_EXAMPLE = 'For example {"file_name": "a.png", "prompt": "a red cube"}.'


def listed(folder: Path, files: Sequence[Path], requests: Sequence[Request]) -> Pairing | None:
    """The pairing that the folder itself states; None where it states nothing.

    Raises:
        EvalkitError: a list that cannot be read, names a file twice, or one that is not there.
    """
    if (folder / "model.json").is_file() and (folder.parent.parent / "prompts.jsonl").is_file():
        return Pairing(_of_run(folder, requests), "the prompts of its run")
    lists = [folder / name for name in NAMES if (folder / name).is_file()]
    found = {
        path.name: matched for path in lists if (matched := _of_list(path, requests)) is not None
    }
    for name, matched in found.items():
        if matched != (first := found[next(iter(found))]):
            raise EvalkitError(
                f"The lists {next(iter(found))} and {name} in {folder} name different images:"
                f" {len(first)} and {len(matched)} of the requested ones.",
                "Delete one of them.",
            )
    if found:
        rule, used = f"its {' and '.join(found)}", {folder / name for name in found}
        return Pairing(next(iter(found.values())), rule, lists=used)
    if texts := _of_geneval(folder, files):
        used = {file.parent.parent / "metadata.jsonl" for file, _ in texts}
        rule = "its metadata.jsonl files (GenEval)"
        return Pairing(by_texts(texts, requests), rule, lists=used)
    texts_beside = {file: beside for file in files if (beside := _beside(file))}
    matched = by_texts(((file, text) for file, (text, _) in texts_beside.items()), requests)
    if matched:  # texts of another kind may lie there too
        used = {texts_beside[file][1] for file in matched.values() if file in texts_beside}
        return Pairing(matched, "the text file beside each image", lists=used)
    return None


def check_own_list(folder: Path, pairing: Pairing, requests: Sequence[Request]) -> None:
    """Refuse positions that count in a prompt list of the folder with other prompts there."""
    if not pairing.by_position:
        return
    for path in sorted(folder.glob("[Pp]rompts.*")):
        try:
            own = [exact(prompt.text) for prompt in read_prompts(path)]
        except EvalkitError:
            continue  # no prompt list
        for request in pairing.found:
            text = own[request.index] if request.index < len(own) else ""
            if text != exact(request.prompt.text):
                raise EvalkitError(
                    f"The images in {folder} are numbered, and its {path.name} has another prompt"
                    f" as number {request.index} than the run: {text[:60]!r} and"
                    f" {request.prompt.text[:60]!r}.",
                    f"Give the run this list with `--prompts {path}`, or move it elsewhere.",
                )


def _beside(file: Path) -> tuple[str, Path] | None:
    """The prompt in a text file or in JSON beside an image, and that file; None without one."""
    for suffix in (".txt", ".caption"):
        if (side := file.with_suffix(suffix)).is_file():
            text = _text(side)
            return (text, side) if text else None
    side = file.with_suffix(".json")
    try:
        row = json.loads(side.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    texts = [row[key] for key in TEXT_KEYS if key in row] if isinstance(row, dict) else []
    return (texts[0], side) if texts and isinstance(texts[0], str) and texts[0] else None


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


def _of_list(path: Path, requests: Sequence[Request]) -> Matched | None:
    """The pairing in a list; None for a list that names no files."""
    by_id: dict[str, list[Path | Refusal]] = {}
    by_text: dict[str, list[Path | Refusal]] = {}
    places: dict[Path, str] = {}
    ids = {request.prompt.id: exact(request.prompt.text) for request in requests}
    rows = [
        (item.place, {key.strip().lower(): v for key, v in item.values.items()})
        for item in objects_of(path)
    ]
    if not any(key in row for _, row in rows for key in _FILE_KEYS):
        bare = next((at for at, row in rows if not any(key in row for key in TEXT_KEYS)), "")
        if bare or path.name in ("metadata.jsonl", "metadata.csv"):
            place = f"{bare[:1].upper()}{bare[1:]} of " if bare else ""
            raise EvalkitError(f"{place}{path} has no file name and no prompt.", _EXAMPLE)
        return None  # a prompt list
    for at, row in rows:
        place = f"{at[0].upper()}{at[1:]} of {path}"
        name = next((row[key] for key in _FILE_KEYS if key in row), None)
        own = next((str(row[key]) for key in _ID_KEYS if key in row), "")
        text = next((row[key] for key in TEXT_KEYS if key in row), "")
        if not isinstance(name, str) or not isinstance(text, str) or not (own or text):
            raise EvalkitError(f"{place} has not a file name, and an id or a prompt.", _EXAMPLE)
        text, file = exact(text), Path(os.path.normpath(path.parent / name))
        if not _is_inside(file, path.parent):
            raise EvalkitError(
                f"{place} names {name!r:.100}, which is not a file in the folder.",
                "Name each file by its path in the folder.",
            )
        if places.setdefault(file, at) != at:
            raise EvalkitError(
                f"{place} names {name!r}, and so does {places[file]}.",
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


def _is_inside(file: Path, folder: Path) -> bool:
    """Whether it is a file of the folder; False for a name that no file can have."""
    try:
        return file.is_file() and file.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):  # too long, NUL, a lone surrogate
        return False


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
