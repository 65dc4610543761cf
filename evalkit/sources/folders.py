"""Images in a folder and its subfolders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.sources.image import (
    MEMBER_LIMIT,
    ImageSource,
    SourceImage,
    natural_path,
    unreadable,
    wanted,
)


def folder_source(folder: Path) -> ImageSource:
    """The image files of a folder and its subfolders, in natural order of their paths."""
    paths = images_below(folder)

    def images() -> Iterator[SourceImage]:
        return (
            SourceImage(path.relative_to(folder).as_posix(), partial(_read, path)) for path in paths
        )

    return ImageSource(str(folder), "folder", images, len(paths))


def images_below(folder: Path) -> list[Path]:
    """The image files of a folder and its subfolders, in natural order; no hidden files."""
    if not folder.is_dir():
        raise EvalkitError(f"There is no folder {folder}.", "Give a folder of images.")
    names: list[str] = []
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = os.path.relpath(root, folder)
        names += [
            name if below == "." else f"{below.replace(os.sep, '/')}/{name}"
            for name in files
            if wanted(name)
        ]
    return [folder / name for name in sorted(names, key=natural_path) if (folder / name).is_file()]


def _read(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MEMBER_LIMIT:
        raise unreadable(f"is {size / 2**20:.0f} MiB, more than {MEMBER_LIMIT >> 20}")
    return path.read_bytes()
