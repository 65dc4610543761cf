"""Captions in COCO annotations."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.prompts.text import FILE_LIMIT, parse_json
from evalkit.training.captions.texts import EXPECTED, cleaned, decode_text, read_limited


def annotation_files(files: Sequence[str]) -> list[str]:
    """The possible annotations: captions*.json here or in annotations/, else any .json here."""
    near = [
        file
        for file in files
        if file.endswith(".json") and posixpath.dirname(file) in ("", "annotations")
    ]
    named = [file for file in near if posixpath.basename(file).startswith("captions")]
    return named or [file for file in near if "/" not in file]


def coco_captions(folder: Path, file: str, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """(image, captions) in the order of their ids; nothing for JSON of another kind.

    A file named captions*.json must be of this kind.
    """
    path = folder / file
    value = parse_json(decode_text(read_limited(path, FILE_LIMIT), str(path)), str(path), EXPECTED)
    coco = isinstance(value, dict) and "images" in value and "annotations" in value
    if not coco and not path.name.startswith("captions"):
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
        raise EvalkitError(
            f"{path} does not contain COCO captions; expected images with id and file_name, "
            "annotations with id, image_id and caption.",
            EXPECTED,
            code="training-5",
        ) from error
    # COCO writes bare names, in whatever folder (train2017, ...) the images are.
    by_name: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_name[posixpath.basename(name)].append(name)
    known = set(names)
    for number, name, caption in rows:
        near = [
            posixpath.normpath(posixpath.join(start, name))
            for start in (posixpath.dirname(file), "")
        ]
        found = [place for place in near if place in known][:1] or by_name.get(name, [name])
        if len(found) > 1:
            raise EvalkitError(
                f"{path} names {name!r}, which may be {found[0]} or {found[1]}.",
                "Write the folder before the name.",
                code="training-6",
            )
        yield found[0], cleaned(caption, f"Annotation {number} of {path}")
