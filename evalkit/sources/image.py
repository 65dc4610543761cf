"""What every source of images gives: names, and functions that read the content from any thread."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.images import is_image_name, natural

# The bytes of a file, or the pixels [H, W] or [H, W, C] of an array, which has no image format.
Content = bytes | NDArray[np.uint8]
# Bytes of one unpacked image file. A larger file is not an image but may exhaust the memory.
MEMBER_LIMIT = 256 << 20


class SourceImage(NamedTuple):
    name: str  # stable within its source: "cats/7.png", "shard-000.tar/7.jpg", "arr_0[7]"
    read: Callable[[], Content]  # raises OSError; thread-safe


@dataclass(frozen=True)
class ImageSource:
    """The images of a place in a fixed order. Only a few are in memory at a time.

    Every iteration starts from the first image.
    """

    place: str  # as the user wrote it
    kind: str  # "folder", "zip", "tar", "array", "parquet", "arrow"
    start: Callable[[], Iterator[SourceImage]]
    count: int | None = None  # None: known only after the last image

    def __iter__(self) -> Iterator[SourceImage]:
        return self.start()


def wanted(name: str) -> bool:
    """Whether a path is an image and no part is hidden or a resource fork of macOS."""
    parts = PurePosixPath(name).parts
    return is_image_name(name) and not any(
        (part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in parts
    )


def natural_path(name: str) -> tuple[object, ...]:
    """A sort key for paths: every part in natural order, so a folder and its archive agree."""
    return tuple(natural(part) for part in PurePosixPath(name).parts)


def unreadable(reason: object) -> OSError:
    """The exception of `SourceImage.read`: an OSError with the reason as `strerror`."""
    return OSError(errno.EIO, str(reason))
