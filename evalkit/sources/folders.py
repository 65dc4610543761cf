"""Images in a folder and its subfolders. The content decides what is an image, not the suffix."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from evalkit.core import EvalkitError
from evalkit.images.kinds import HEAD
from evalkit.sources.image import (
    CONTENT,
    MEMBER_LIMIT,
    ImageSource,
    SourceImage,
    natural_path,
    unreadable,
    why_not,
    why_not_content,
)


class Survey(NamedTuple):
    """What a folder has: its images in natural order, and why other files are not taken."""

    images: list[Path]
    left: dict[Path, str]


def folder_source(folder: Path) -> ImageSource:
    """The image files of a folder and its subfolders, in natural order of their paths."""
    paths, left = survey(folder)

    def images() -> Iterator[SourceImage]:
        return (
            SourceImage(path.relative_to(folder).as_posix(), partial(_read, path)) for path in paths
        )

    reasons = {path.relative_to(folder).as_posix(): reason for path, reason in left.items()}
    return ImageSource(str(folder), "folder", images, len(paths), reasons)


def images_below(folder: Path) -> list[Path]:
    """The image files of a folder and its subfolders, in natural order; no hidden files."""
    return survey(folder).images


def survey(folder: Path) -> Survey:
    """Every file of a folder and its subfolders, also linked ones: an image, or left for a reason.

    A file with the suffix of an image is one, whatever is wrong with it: it is read, and found
    invalid. Hidden files without such a suffix are passed over.
    """
    if not folder.is_dir():
        raise EvalkitError(f"There is no folder {folder}.", "Give a folder of images.")
    images: list[str] = []
    left: dict[str, str] = {}
    seen: set[str] = set()
    whole = folder.resolve()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        below = "" if root == str(folder) else os.path.relpath(root, folder).replace(os.sep, "/")
        if real in seen or (below and whole.is_relative_to(real)):
            folders.clear()  # a link to what is part of the set already, or holds the whole set
            of = "another folder of" if real in seen else "a folder around"
            left[below] = f"a link to {of} the set"
            continue
        seen.add(real)
        if below and {"run.toml", "prompts.jsonl"} <= set(files):
            folders.clear()
            left[below] = "a run of evalkit"
            continue
        for name in files:
            path = f"{below}/{name}" if below else name
            reason = _reason(Path(root, name), path)
            if reason is None:
                images.append(path)
            elif reason:
                left[path] = reason
    names = sorted(images, key=natural_path)
    return Survey(
        [folder / name for name in names],
        {folder / name: left[name] for name in sorted(left, key=natural_path)},
    )


def _reason(path: Path, below: str) -> str | None:
    """Why a file is not taken; None for an image, "" for a file that is not worth a word."""
    reason = why_not(below)
    if reason is None:  # also a broken link; to read from a pipe would wait for ever
        return None if os.path.isfile(path) or not os.path.exists(path) else "not a file"
    if reason != CONTENT:
        return reason
    try:
        if not path.is_file():  # a broken link, a pipe, a device
            return "a broken link" if path.is_symlink() else "not a file"
        with path.open("rb") as file:
            return why_not_content(file.read(HEAD))
    except OSError:
        return "not readable"


def _read(path: Path) -> bytes:
    if path.is_symlink() and not path.exists():
        raise unreadable(f"is a broken link to {os.readlink(path)}")
    if not path.is_file():
        raise unreadable("is not a file")
    size = path.stat().st_size
    if size > MEMBER_LIMIT:
        raise unreadable(f"is {size / 2**20:.0f} MiB, more than {MEMBER_LIMIT >> 20}")
    return path.read_bytes()
