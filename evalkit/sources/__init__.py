"""Sources of images: a folder, a zip, tar shards, an array, a dataset.

`open_source` opens any of them. Images are read lazily and in a fixed order.
"""

from __future__ import annotations

import glob
import itertools
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.images.kinds import check_suffix, what_is
from evalkit.sources.absent import absent, missing_images
from evalkit.sources.archives import TAR_SUFFIXES, tar_source, zip_source
from evalkit.sources.arrays import array_source
from evalkit.sources.datasets import arrow_source, parquet_source
from evalkit.sources.folders import folder_source, images_below, survey
from evalkit.sources.image import (
    NOT_AN_IMAGE,
    Content,
    ImageSource,
    SourceImage,
    check_count,
    in_words,
    natural_path,
    not_taken,
)

log = logging.getLogger(__name__)
__all__ = [
    "NOT_AN_IMAGE",
    "Content",
    "ImageSource",
    "SourceImage",
    "absent",
    "images_below",
    "in_words",
    "matching_files",
    "missing_images",
    "not_taken",
    "open_source",
    "survey",
]

_EXPECTED = (
    "Expected a folder of images, .zip, .tar shards, .npz or .npy of uint8 images, or a dataset's "
    "folder or .parquet files."
)


def open_source(place: Path | str) -> ImageSource:
    """The images of a place. Raises EvalkitError if there are none.

    - A folder with its subfolders, or a zip file: in natural order of the paths (2 before 10),
      without hidden files.
    - Tar files, also compressed, given by a pattern (`shard-{000..012}.tar`, `'shard-*.tar'`) or
      by their folder: in the order of the archive.
    - .npz with `arr_0`, or .npy: uint8 [N, H, W, 3].
    - A Hugging Face dataset: an image folder, parquet files, or the result of `save_to_disk`.
    """
    path = Path(place)
    if os.path.isdir(path):  # unlike Path.is_dir, takes names that no folder can have
        try:
            source = _of_folder(path)
        except OSError as error:  # no permission; or it changes while it is listed
            raise EvalkitError(
                f"The folder {path} cannot be read: {error.strerror}.",
                "Check its permissions.",
                code="sources-1",
            ) from error
    elif os.path.isfile(path):
        source = _of_files([path], str(place))
    else:
        source = _of_files(matching_files(str(place)), str(place))
    found = in_words(not_taken(source.left.items())) if source.left else ""
    if source.count == 0:
        raise EvalkitError(
            f"{place} has no images{f': {found}' if found else ''}.", _EXPECTED, code="sources-2"
        )
    check_count(place, source.count or 0)
    return source


def _of_folder(folder: Path) -> ImageSource:
    if (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    ):
        return arrow_source(folder)
    found = (path for path in folder.iterdir() if path.name.lower().endswith(TAR_SUFFIXES))
    shards = _sorted(path for path in found if path.is_file())
    below = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    tables = _sorted(path for path in below if path.suffix == ".parquet" and os.path.isfile(path))
    if not (shards or tables):
        return folder_source(folder)
    if images_below(folder):
        log.warning(
            "%s has image files: its %d .tar and .parquet files are ignored",
            folder,
            len(shards) + len(tables),
        )
        return folder_source(folder)
    if shards and tables:
        raise EvalkitError(
            f"The folder {folder} has .tar and .parquet files.",
            "Select one kind by a pattern such as 'folder/*.tar'.",
            code="sources-3",
        )
    return tar_source(shards, str(folder)) if shards else parquet_source(tables, str(folder))


def _of_files(paths: list[Path], place: str) -> ImageSource:
    names = [path.name.lower() for path in paths]
    known = (*TAR_SUFFIXES, ".parquet", ".zip", ".npz", ".npy")
    for path in paths:
        if path.name.lower().endswith(known):
            check_suffix(path)
    if all(name.endswith(TAR_SUFFIXES) for name in names):
        return tar_source(paths, place)
    if all(name.endswith(".parquet") for name in names):
        return parquet_source(paths, place)
    if len(paths) == 1 and names[0].endswith(".zip"):
        return zip_source(paths[0])
    if len(paths) == 1 and names[0].endswith((".npz", ".npy")):
        return array_source(paths[0])
    found = f" It is {what_is(paths[0])}." if len(paths) == 1 else ""
    raise EvalkitError(f"{place} is not a source of images.{found}", _EXPECTED, code="sources-4")


def matching_files(pattern: str) -> list[Path]:
    """The files of a pattern: every file of {...} must exist; * and ? match existing files."""
    if not _is_pattern(pattern):
        if os.path.exists(pattern):
            raise EvalkitError(
                f"{pattern} is a device, a pipe or a socket.", _EXPECTED, code="sources-5"
            )
        raise EvalkitError(f"There is no file or folder {pattern}.", _EXPECTED, code="sources-6")
    named = list(_expanded(pattern))
    found: list[Path] = []
    for name in named:
        is_glob = any(mark in name for mark in "*?[")
        matches = _sorted(map(Path, glob.glob(name))) if is_glob else [Path(name)]
        if not matches or not all(path.is_file() for path in matches):
            raise EvalkitError(
                f"There is no file {name}, which is one of {pattern}."
                if len(named) > 1
                else f"There is no file that matches {pattern}.",
                "Check the path.",
                code="sources-7",
            )
        found += matches
    return found


def _is_pattern(text: str) -> bool:
    return any(mark in text for mark in "*?[{")


def _expanded(pattern: str) -> Iterator[str]:
    """All names of a pattern with {000..012} (numbers) and {a,b} (alternatives)."""
    parts: list[list[str]] = []
    for piece in re.split(r"(\{[^{}]*\})", pattern):
        counted = re.fullmatch(r"\{(\d+)\.\.(\d+)\}", piece)
        if counted:
            first, last = int(counted[1]), int(counted[2])
            if last - first >= 1_000_000:
                raise EvalkitError(
                    f"The pattern {pattern} stands for {last - first + 1} files.",
                    "Give a pattern of fewer than a million files.",
                    code="sources-8",
                )
            parts.append([str(number).zfill(len(counted[1])) for number in range(first, last + 1)])
        else:
            parts.append(piece[1:-1].split(",") if piece.startswith("{") else [piece])
    return map("".join, itertools.product(*parts))


def _sorted(paths: Iterator[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: natural_path(path.as_posix()))
