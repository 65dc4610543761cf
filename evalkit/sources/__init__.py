"""Where pictures come from: a folder, a zip, tar shards, an array, a dataset. One function opens
them all, lazily and in a fixed order.
"""

from __future__ import annotations

import glob
import itertools
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.sources.archives import TAR_SUFFIXES, tar_source, zip_source
from evalkit.sources.arrays import array_source
from evalkit.sources.datasets import arrow_source, parquet_source
from evalkit.sources.folders import folder_source, images_below
from evalkit.sources.picture import Content, Picture, Source, natural_path

log = logging.getLogger(__name__)
__all__ = [
    "Content",
    "Picture",
    "Source",
    "images_below",
    "is_archive",
    "matching_files",
    "open_source",
]

_EXPECTED = "Expected a folder of pictures, .zip, .tar shards, .npz or .npy of uint8 images, or a dataset's folder or .parquet files."


def open_source(place: Path | str) -> Source:
    """The pictures of a place.

    - a folder, with its subfolders, and a zip file: natural order of the paths (2 before 10),
      hidden files left out;
    - tar files, also compressed, by a pattern (`shard-{000..012}.tar`, `'shard-*.tar'`) or the
      folder that they are in: their own order;
    - .npz with `arr_0`, .npy: uint8 [N, H, W, 3];
    - a Hugging Face dataset: an image folder, parquet files, or what `save_to_disk` wrote.

    Raises EvalkitError where there is no such place, or nothing in it.
    """
    path = Path(place)
    if path.is_dir():
        source = _of_folder(path)
    elif path.is_file():
        source = _of_files([path], str(place))
    else:
        source = _of_files(matching_files(str(place)), str(place))
    if source.count == 0:
        raise EvalkitError(f"{place} has no pictures in it.", _EXPECTED)
    return source


def is_archive(path: Path) -> bool:
    """Whether a path is one file (or a pattern of files) of many pictures."""
    return path.is_file() or (not path.exists() and _is_pattern(str(path)))


def _of_folder(folder: Path) -> Source:
    if (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    ):
        return arrow_source(folder)
    shards = _sorted(path for path in folder.iterdir() if path.name.lower().endswith(TAR_SUFFIXES))
    tables = _sorted(folder.glob("**/*.parquet"))
    if not (shards or tables):
        return folder_source(folder)
    if images_below(folder):
        log.warning(
            "%s has pictures in it: its %d .tar and .parquet files are passed over",
            folder,
            len(shards) + len(tables),
        )
        return folder_source(folder)
    if shards and tables:
        raise EvalkitError(
            f"The folder {folder} has .tar and .parquet files in it.",
            "Give one kind by a pattern such as 'folder/*.tar'.",
        )
    return tar_source(shards, str(folder)) if shards else parquet_source(tables, str(folder))


def _of_files(paths: list[Path], place: str) -> Source:
    names = [path.name.lower() for path in paths]
    if all(name.endswith(TAR_SUFFIXES) for name in names):
        return tar_source(paths, place)
    if all(name.endswith(".parquet") for name in names):
        return parquet_source(paths, place)
    if len(paths) == 1 and names[0].endswith(".zip"):
        return zip_source(paths[0])
    if len(paths) == 1 and names[0].endswith((".npz", ".npy")):
        return array_source(paths[0])
    raise EvalkitError(f"{place} is nothing that pictures are read from.", _EXPECTED)


def matching_files(pattern: str) -> list[Path]:
    """The files of a pattern: braces are a promise that every one is there, * and ? take what there
    is.
    """
    if not _is_pattern(pattern):
        raise EvalkitError(f"There is no file or folder {pattern}.", _EXPECTED)
    named = list(_expanded(pattern))
    found: list[Path] = []
    for name in named:
        matches = (
            _sorted(map(Path, glob.glob(name)))
            if any(mark in name for mark in "*?[")
            else [Path(name)]
        )
        missing = not matches or not all(path.is_file() for path in matches)
        if missing:
            raise EvalkitError(
                f"There is no file {name}.", f"It is one of the {len(named)} of {pattern}."
            )
        found += matches
    return found


def _is_pattern(text: str) -> bool:
    return any(mark in text for mark in "*?[{")


def _expanded(pattern: str) -> Iterator[str]:
    """{000..012} counts with leading zeros, {a,b} lists."""
    parts: list[list[str]] = []
    for piece in re.split(r"(\{[^{}]*\})", pattern):
        counted = re.fullmatch(r"\{(\d+)\.\.(\d+)\}", piece)
        if counted:
            first, last = int(counted[1]), int(counted[2])
            if last - first >= 1_000_000:
                raise EvalkitError(
                    f"The pattern {pattern} counts to {last - first + 1} files.",
                    "Expected fewer than a million.",
                )
            parts.append([str(number).zfill(len(counted[1])) for number in range(first, last + 1)])
        else:
            parts.append(piece[1:-1].split(",") if piece.startswith("{") else [piece])
    return map("".join, itertools.product(*parts))


def _sorted(paths: Iterator[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: natural_path(path.as_posix()))
