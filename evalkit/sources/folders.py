"""Images in a folder and its subfolders. The content decides what is an image, not the suffix."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from evalkit.core import EvalkitError
from evalkit.images import FORMATS, is_image_name
from evalkit.images.kinds import kind_of
from evalkit.sources.image import (
    MEMBER_LIMIT,
    NOT_AN_IMAGE,
    SYSTEM_FOLDERS,
    ImageSource,
    SourceImage,
    natural_path,
    unreadable,
)

_UNFINISHED = (".part", ".crdownload", ".download", ".tmp", ".partial")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


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
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        below = "" if root == str(folder) else os.path.relpath(root, folder).replace(os.sep, "/")
        if real in seen:  # a link to a folder that is part of the set already
            folders.clear()
            left[below] = "a link to another folder of the set"
            continue
        seen.add(real)
        if below and {"run.toml", "prompts.jsonl"} <= set(files):
            folders.clear()
            left[below] = "a run of evalkit"
            continue
        hidden = any(part.startswith(".") for part in below.split("/"))
        system = next((part for part in below.split("/") if part in SYSTEM_FOLDERS), "")
        for name in files:
            path = f"{below}/{name}" if below else name
            reason = _reason(Path(root, name), hidden, system)
            if reason is None:
                images.append(path)
            elif reason:
                left[path] = reason
    names = sorted(images, key=natural_path)
    return Survey(
        [folder / name for name in names],
        {folder / name: left[name] for name in sorted(left, key=natural_path)},
    )


def _reason(path: Path, hidden: bool, system: str) -> str | None:
    """Why a file is not taken; None for an image, "" for a file that is not worth a word."""
    name = path.name
    looks = is_image_name(name.lstrip("."))
    if system:
        return f"in {system}" if looks else ""
    if hidden or name.startswith("."):
        return "hidden" if looks else ""
    if looks:  # also a broken link; to read from a pipe would wait for ever
        return None if os.path.isfile(path) or not os.path.exists(path) else "not a file"
    suffix = path.suffix.lower()
    if suffix in _UNFINISHED:
        return "an unfinished download"
    if suffix in _ARCHIVES:
        return "an archive inside of a folder"
    try:
        if not path.is_file():  # a broken link, a pipe, a device
            return "a broken link" if path.is_symlink() else "not a file"
        with path.open("rb") as file:
            kind = kind_of(file.read(64))
    except OSError:
        return "not readable"
    return None if kind in FORMATS else NOT_AN_IMAGE


def _read(path: Path) -> bytes:
    if path.is_symlink() and not path.exists():
        raise unreadable(f"is a broken link to {os.readlink(path)}")
    if not path.is_file():
        raise unreadable("is not a file")
    size = path.stat().st_size
    if size > MEMBER_LIMIT:
        raise unreadable(f"is {size / 2**20:.0f} MiB, more than {MEMBER_LIMIT >> 20}")
    return path.read_bytes()
