"""Lists that a folder of images has of its own: which file was made for which prompt.

- `metadata.jsonl` and `metadata.csv` (Hugging Face imagefolder), `captions` or `prompts`, and any
  other table or JSON with file names: a file name, and the prompt or its id. Also a mapping of file
  names, COCO captions, and `NAME<tab>PROMPT` in each line of a text file. A list may lie in a
  subfolder, beside its images.
- A run of evalkit: its manifests and prompts.
- The files of beside.py: one per image, or per prompt.
- A prompt list without file names, which numbers in file names must not contradict.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import EvalkitError, Refusal, Request
from evalkit.generators.beside import beside, of_geneval
from evalkit.generators.file_names import exact
from evalkit.generators.numbers import Matched
from evalkit.generators.pairing import FURTHER, Pairing, assign, by_texts
from evalkit.prompts import read_prompts
from evalkit.prompts.columns import TEXT_KEYS
from evalkit.prompts.formats import TABLES, objects_of
from evalkit.prompts.text import numbered_lines, parse_json, read_text
from evalkit.run_folder import Run

_STEMS = ("prompts", "metadata", "captions")  # of lists that must be readable
_FILE_KEYS = (
    *("file", "file_name", "filename", "image", "path", "image_path", "file_path", "filepath"),
    *("image_file_name", "image_file", "image_name", "img", "img_path"),
)
_ID_KEYS = ("id", "prompt_id")
_EXAMPLE = 'For example {"file_name": "a.png", "prompt": "a red cube"}.'


Rows = list[tuple[str, dict[str, Any]]]


class Entry(NamedTuple):
    """What a list says about one file."""

    file: Path
    text: str  # "" where `id` decides
    id: str


def listed(folder: Path, files: Sequence[Path], requests: Sequence[Request]) -> Pairing | None:
    """The pairing that the folder itself states; None where it states nothing.

    Raises:
        EvalkitError: a list that cannot be read, names a file twice, or one that is not there.
    """
    if _is_of_run(folder):
        return Pairing(_of_run(folder, requests), "the prompts of its run")
    if texts := of_geneval(folder, files):
        used = {file.parent.parent / "metadata.jsonl" for file, _ in texts}
        rule = "its metadata.jsonl files (GenEval)"
        found = by_texts(texts, requests)
        return Pairing(found, rule, _further(dict(texts), found, requests), lists=used)
    if found := _of_lists(folder, files, requests):
        return found
    texts_beside = {file: found for file in files if (found := beside(file))}
    matched = by_texts(((file, text) for file, (text, _) in texts_beside.items()), requests)
    if matched:  # texts of another kind may lie there too
        used = {texts_beside[file][1] for file in matched.values() if file in texts_beside}
        left = _further({file: text for file, (text, _) in texts_beside.items()}, matched, requests)
        return Pairing(matched, "the text file beside each image", left, lists=used)
    return None


def _further(
    texts: Mapping[Path, str], found: Matched, requests: Sequence[Request]
) -> dict[Path, str]:
    """The images of prompts that have enough other images."""
    prompts, used = {exact(request.prompt.text) for request in requests}, {*found.values()}
    left = (file for file, text in texts.items() if exact(text) in prompts and file not in used)
    return dict.fromkeys(left, FURTHER)


def _of_lists(folder: Path, files: Sequence[Path], requests: Sequence[Request]) -> Pairing | None:
    """By the lists beside the images and above them. Those in one folder must agree."""
    ids = {request.prompt.id: exact(request.prompt.text) for request in requests}
    entries: dict[Path, Entry] = {}
    used: list[Path] = []
    images: dict[Path, set[str]] = {}
    for file in files:
        images.setdefault(file.parent, set()).update((file.name, file.stem))
    for place in _places(folder, files):
        found: dict[Path, list[Entry]] = {}
        for path in _lists_in(place, images.get(place, set())):
            known = path.stem.lower() in _STEMS
            try:
                own = _entries(path, folder, files, ids)
            except EvalkitError:
                if known:
                    raise
                continue  # another file of the user, such as results.json
            if own:
                found[path] = own
        matched = {path: _assigned(own, requests) for path, own in found.items()}
        for path, one in matched.items():
            if one != (first := matched[next(iter(matched))]):
                raise EvalkitError(
                    f"The lists {next(iter(matched)).name} and {path.name} in {place} name"
                    f" different images: {len(first)} and {len(one)} of the requested ones.",
                    "Delete one of them.",
                    code="generators-28",
                )
        for own in list(found.values())[:1]:
            entries = {entry.file: entry for entry in own} | entries
        used += found
    if not used:
        return None
    names = dict.fromkeys(path.name for path in used)
    rule = f"its {' and '.join(names)}"
    paired = _assigned(list(entries.values()), requests)
    texts = {file: entry.text or ids.get(entry.id, "") for file, entry in entries.items()}
    return Pairing(paired, rule, _further(texts, paired, requests), lists=set(used))


def _places(folder: Path, files: Sequence[Path]) -> list[Path]:
    """The folder, and the folders between it and its images."""
    places = {folder: None}
    for parent in dict.fromkeys(file.parent for file in files):
        between = [above for above in (parent, *parent.parents) if above.is_relative_to(folder)]
        places |= dict.fromkeys(reversed(between))
    return list(places)


def _lists_in(place: Path, images: Set[str]) -> list[Path]:
    """The tables, JSON and text files that may be lists; not those that belong to one image.

    images: the names of all images there, with and without suffix.
    """
    found = [
        path
        for path in place.iterdir()
        if path.suffix.lower() in (*TABLES, ".txt")
        and not path.name.startswith(".")
        and path.stem not in images
        and path.is_file()
    ]
    return sorted(found, key=lambda path: (path.stem.lower() not in _STEMS, path.name))


def _entries(
    path: Path, folder: Path, files: Sequence[Path], ids: Mapping[str, str]
) -> list[Entry]:
    """What a list says; [] for a list that names no files. `ids`: the texts of the prompts."""
    rows = [
        (at, {key.strip().lower(): value for key, value in values.items()})
        for at, values in _rows(path, folder)
    ]
    if not any(key in row for _, row in rows for key in _FILE_KEYS):
        rows = _by_id_as_file(rows, path, files) or rows
    if not any(key in row for _, row in rows for key in _FILE_KEYS):
        bare = next((at for at, row in rows if not any(key in row for key in TEXT_KEYS)), "")
        if bare or path.name in ("metadata.jsonl", "metadata.csv"):
            place = f"{bare[:1].upper()}{bare[1:]} of " if bare else ""
            raise EvalkitError(
                f"{place}{path} has no file name and no prompt.", _EXAMPLE, code="generators-29"
            )
        return []  # a prompt list
    places: dict[Path, str] = {}
    found: list[Entry] = []
    for at, row in rows:
        place = f"{at[0].upper()}{at[1:]} of {path}"
        name = next((row[key] for key in _FILE_KEYS if key in row), None)
        own = next((str(row[key]) for key in _ID_KEYS if key in row), "")
        text = next((row[key] for key in TEXT_KEYS if key in row), "")
        if not isinstance(name, str) or not isinstance(text, str) or not (own or text):
            raise EvalkitError(
                f"{place} has no file name, or neither an id nor a prompt.",
                _EXAMPLE,
                code="generators-30",
            )
        text, file = exact(text), _file(name, path, folder)
        if file is None:
            raise EvalkitError(
                f"{place} names {name!r:.100}, which is not a file in the folder.",
                "Name each file by its path in the folder.",
                code="generators-31",
            )
        if places.setdefault(file, at) != at:
            raise EvalkitError(
                f"{place} names {name!r}, and so does {places[file]}.",
                "An image has one prompt; name each file once.",
                code="generators-32",
            )
        if text and own in ids and ids[own] != text:
            raise EvalkitError(
                f"{place} names the prompt {own!r}, but its text is not that of this prompt:"
                f" {text[:60]!r}.",
                "Leave out the id or the text.",
                code="generators-33",
            )
        found.append(Entry(file, "" if own in ids else text, own))
    return found


def _rows(path: Path, folder: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The rows of a table or JSON, of COCO captions, or of a text file with names and prompts."""
    if path.suffix.lower() == ".txt":
        return _of_text(path, folder)
    if path.suffix.lower() == ".json":
        value = parse_json(read_text(path), str(path))
        if isinstance(value, dict) and "annotations" in value:
            return _of_coco(value)
    return ((item.place, item.values) for item in objects_of(path))


def _of_text(path: Path, folder: Path) -> list[tuple[str, dict[str, str]]]:
    """Lines of a file name and a prompt; [] for a text file with other lines."""
    found = []
    for number, line in numbered_lines(read_text(path)):
        name, text = (*re.split(r"[\t,;|]", line, maxsplit=1), "")[:2]
        row = {"file": name.strip().strip('"'), "prompt": text.strip()}
        if not found and _file(row["file"], path, folder) is None:
            if number == 1 and row["file"].lower() in _FILE_KEYS:
                continue  # a header
            return []
        found.append((f"line {number}", row))
    return found


def _of_coco(value: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The first caption of each file."""
    try:
        names = {image["id"]: image["file_name"] for image in value["images"]}
        first: dict[Any, str] = {}
        for caption in sorted(value["annotations"], key=lambda caption: caption["id"]):
            first.setdefault(caption["image_id"], caption["caption"])
        rows = [(f"image {key}", {"file_name": names[key], "caption": first[key]}) for key in first]
    except (KeyError, TypeError, AttributeError):
        return  # boxes and the like
    yield from rows


def _by_id_as_file(rows: Rows, path: Path, files: Sequence[Path]) -> Rows:
    """Rows whose ids are the names of all images beside the list, as in `{"0.png": "a cat"}`."""
    own = [file for file in files if file.parent == path.parent]
    named = {str(row.get("id", "")): (at, row) for at, row in rows}
    found = [(file, named.get(file.name) or named.get(file.stem)) for file in own]
    if not all(row for _, row in found):
        return []
    return [(row[0], {"file": file.name, **row[1], "id": ""}) for file, row in found if row]


def _file(name: str, path: Path, folder: Path) -> Path | None:
    """The file that a list names, by its path from the list, or from the folder above.

    None if the folder has no such file. Windows paths have backslashes.
    """
    own = f"{path.parent.name}/"
    for way in (name, name.replace("\\", "/"), name.replace("\\", "/").removeprefix(own)):
        file = Path(os.path.normpath(path.parent / way))
        if _is_inside(file, folder):
            return file
    return None


def _is_inside(file: Path, folder: Path) -> bool:
    """Whether it is a file of the folder; False for a name that no file can have."""
    try:
        return file.is_file() and file.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):  # too long, NUL, a lone surrogate
        return False


def _assigned(entries: Sequence[Entry], requests: Sequence[Request]) -> Matched:
    by_id: dict[str, list[Path | Refusal]] = {}
    by_text: dict[str, list[Path | Refusal]] = {}
    for entry in entries:
        group, key = (by_text, entry.text) if entry.text else (by_id, entry.id)
        group.setdefault(key, []).append(entry.file)
    return assign(by_text, requests, lambda request: exact(request.prompt.text)) | assign(
        by_id, requests, lambda request: request.prompt.id
    )


def check_own_list(folder: Path, pairing: Pairing, requests: Sequence[Request]) -> None:
    """Refuse positions that count in a prompt list of the folder with other prompts there."""
    if not pairing.by_position:
        return
    for path in sorted(folder.iterdir()):
        if path.stem.lower() not in _STEMS or not path.is_file():
            continue
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
                    code="generators-34",
                )


def _is_of_run(folder: Path) -> bool:
    """Whether it is the folder of a model in a run, with a manifest."""
    in_run = folder.parent.name == "images" and (folder.parent.parent / "run.toml").is_file()
    return (in_run or (folder / "model.json").is_file()) and any(folder.glob("manifest.*.jsonl"))


def _of_run(folder: Path, requests: Sequence[Request]) -> Matched:
    """Matched by the text of the prompts, or where prompts.jsonl is lost by the hash of each."""
    run = Run(folder.parent.parent)
    known = run.prompts_path.is_file()
    prompts = run.prompts() if known else []
    by_prompt: dict[str, list[Path | Refusal]] = {}
    # The name of the folder stands for the label: model.json may be lost, too.
    for record in run.records(folder.name, check=known):
        item = (
            folder / record.file if record.status == "ok" else Refusal(record.status, record.detail)
        )
        key = prompts[record.index].text if known else record.prompt_sha256
        by_prompt.setdefault(key, []).append(item)
    matched = assign(by_prompt, requests, lambda r: r.prompt.text if known else r.prompt.sha256)
    if not matched and not known:
        raise EvalkitError(
            f"The images in {folder} are those of a run without its prompts.jsonl, and none was"
            " made for one of the given prompts.",
            f"Restore {run.prompts_path}, or give the prompts of the run, with their ids and"
            " groups.",
            code="generators-35",
        )
    return matched
