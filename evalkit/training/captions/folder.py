"""Captions of the images in a folder: in a table, in COCO annotations, or in a file per image."""

from __future__ import annotations

import logging
import posixpath
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from evalkit.sources import NOT_AN_IMAGE, survey
from evalkit.training.captions.coco import annotation_files, coco_captions
from evalkit.training.captions.tables import TABLES, table_captions
from evalkit.training.captions.texts import (
    TEXT_LIMIT,
    TEXT_SUFFIXES,
    Captions,
    captions_of_texts,
    key_of,
    read_limited,
)

log = logging.getLogger(__name__)


def folder_captions(folder: Path, names: Sequence[str]) -> Captions:
    """The captions of the images `names`.

    Tables take precedence over COCO annotations, and both over a file per image.
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
        for row in table_captions(folder, file)
    ]
    rows = rows or [
        row for file in annotation_files(others) for row in coco_captions(folder, file, names)
    ]
    if not rows:
        contents = ((file, read_limited(folder / file, TEXT_LIMIT)) for file in texts)
        of = captions_of_texts(contents, names, f"{folder}/").of
        return Captions(of, [file for file in others if file.lower().endswith(".txt")])
    if texts:
        log.warning(
            "%s has captions in one file for all images: %d texts such as %s are ignored",
            folder,
            len(texts),
            texts[0],
        )
    found: dict[str, list[str]] = defaultdict(list)
    for image, captions in rows:
        found[image] += captions
    return Captions(
        {name: found[name] for name in names if name in found}, sorted(found.keys() - set(names))
    )


def _files_below(folder: Path) -> list[str]:
    """The paths of all files that may be images or texts, sorted, without hidden ones."""
    images, left = survey(folder)
    texts = (path for path, reason in left.items() if reason == NOT_AN_IMAGE)
    return sorted(path.relative_to(folder).as_posix() for path in (*images, *texts))
