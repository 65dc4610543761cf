"""Pictures in a folder and its subfolders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.sources.picture import MEMBER_LIMIT, Picture, Source, natural_path, unreadable, wanted


def folder_source(folder: Path) -> Source:
    """The picture files of a folder and its subfolders in natural order of their paths. Raises
    EvalkitError where there is none.
    """
    paths = images_below(folder)

    def pictures() -> Iterator[Picture]:
        return (Picture(path.relative_to(folder).as_posix(), _Reader(path)) for path in paths)

    return Source(str(folder), "folder", pictures, len(paths))


def images_below(folder: Path) -> list[Path]:
    """The picture files of a folder and its subfolders, in natural order of their paths; hidden
    ones are left out.
    """
    if not folder.is_dir():
        raise EvalkitError(f"There is no folder {folder}.", "Give a folder of pictures.")
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


class _Reader:
    """Reads one file. Holds the path only, where a closure would hold more: there may be 100,000 of
    them.
    """

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self) -> bytes:
        size = self.path.stat().st_size
        if size > MEMBER_LIMIT:
            raise unreadable(f"is {size / 2**20:.0f} MiB, more than {MEMBER_LIMIT >> 20}")
        return self.path.read_bytes()
