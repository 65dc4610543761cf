"""Images in a folder and its subfolders. The content decides what is an image, not the suffix."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from evalkit.core import EvalkitError
from evalkit.images import is_image_name, read_bytes
from evalkit.images.kinds import HEAD
from evalkit.sources.image import (
    CONTENT,
    ImageSource,
    SourceImage,
    natural_path,
    why_not,
    why_not_content,
)

_OF_RUN = re.compile("(^|/)images/[^/]*$")


class Survey(NamedTuple):
    """What a folder has: its images in natural order, and why other files are not taken."""

    images: list[Path]
    left: dict[Path, str]


def folder_source(folder: Path) -> ImageSource:
    """The image files of a folder and its subfolders, in natural order of their paths."""
    paths, left = survey(folder)

    def images() -> Iterator[SourceImage]:
        return (
            SourceImage(path.relative_to(folder).as_posix(), partial(read_bytes, path))
            for path in paths
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
        raise EvalkitError(
            f"There is no folder {folder}.", "Give a folder of images.", code="sources-35"
        )
    images: list[str] = []
    left: dict[str, str] = {}
    seen: set[str] = set()
    whole = folder.resolve()

    def not_read(error: OSError) -> None:
        if error.filename == str(folder):
            raise EvalkitError(
                f"The folder {folder} cannot be read: {error.strerror}.",
                "Check its permissions.",
                code="sources-36",
            )
        left[os.path.relpath(error.filename, folder)] = f"not readable: {error.strerror}"

    for root, folders, files in os.walk(folder, followlinks=True, onerror=not_read):
        real = os.path.realpath(root)
        below = "" if root == str(folder) else os.path.relpath(root, folder).replace(os.sep, "/")
        if real in seen or (below and whole.is_relative_to(real)):
            folders.clear()  # a link to what is part of the set already, or holds the whole set
            of = "another folder of" if real in seen else "a folder around"
            left[below] = f"a link to {of} the set"
            continue
        seen.add(real)
        if kind := _of_evalkit(below, {*files}):
            folders.clear()
            left[below] = kind
            continue
        if not (files or folders) and is_image_name(below):
            left[below] = "an empty folder"
        for name in files:
            path = f"{below}/{name}" if below else name
            figure = is_image_name(name) and _is_figure(name, files)
            reason = "a figure of evalkit" if figure else _reason(Path(root, name), path)
            if reason is None:
                images.append(path)
            elif reason:
                left[path] = reason
    names = sorted(images, key=natural_path)
    return Survey(
        [folder / name for name in names],
        {folder / name: left[name] for name in sorted(left, key=natural_path)},
    )


def _of_evalkit(below: str, files: set[str]) -> str:
    """What a subfolder is that evalkit wrote, by the files in it; "" for any other one."""
    of_run = ({"run.toml", "prompts.jsonl"}, {"metrics.json", "protocol.json"})
    if below and any(names <= files for names in of_run):
        return "a run of evalkit"
    return "images of a run of evalkit" if _OF_RUN.search(below) and "model.json" in files else ""


def _is_figure(name: str, files: Collection[str]) -> bool:
    """Whether an image is a figure, which evalkit writes as .pdf, .png and .svg, with its data."""
    stem = os.path.splitext(name)[0]
    return all(f"{stem}{suffix}" in files for suffix in (".pdf", ".png", ".svg", ".csv"))


def _reason(path: Path, below: str) -> str | None:
    """Why a file is not taken; None for an image, "" for a file that is not worth a word."""
    reason = why_not(below)
    if reason is None:  # also a broken link; to read from a pipe would wait for ever
        return None if os.path.isfile(path) or not os.path.exists(path) else "not a file"
    if reason != CONTENT:
        return reason
    try:
        if not path.is_file():  # a broken link, a pipe, a device
            return "not a file" if path.exists() else "a broken link"
        with path.open("rb") as file:
            return why_not_content(file.read(HEAD))
    except OSError:
        return "not readable"
