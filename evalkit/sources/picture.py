"""What every source of pictures gives: a name, and a way to the content that may be asked for
again, from any thread.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.images import is_picture, natural

Content = (
    bytes | NDArray[np.uint8]
)  # of a file, or the pixels [H, W] or [H, W, C] of an array without a picture format
MEMBER_LIMIT = (
    256 << 20
)  # bytes of one picture file, unpacked: more is no picture but an attempt to fill the memory


class Picture(NamedTuple):
    name: str  # stable within its place: "cats/7.png", "shard-000.tar/7.jpg", "arr_0[7]"
    read: Callable[[], Content]  # raises OSError; thread-safe


@dataclass(frozen=True)
class Source:
    """The pictures of a place, one after the other; iterating again begins anew. No more than a few
    are in memory.
    """

    place: str  # as the user wrote it
    kind: str  # "folder", "zip", "tar", "array", "parquet", "arrow"
    start: Callable[[], Iterator[Picture]]
    count: int | None = None  # None: not known before all are read

    def __iter__(self) -> Iterator[Picture]:
        return self.start()


def wanted(name: str) -> bool:
    """Whether a member of an archive is a picture; hidden files and macOS's resource forks are left
    out.
    """
    parts = PurePosixPath(name).parts
    return is_picture(name) and not any(
        (part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in parts
    )


def natural_path(name: str) -> tuple[object, ...]:
    """A sort key for paths: part by part in natural order, so a folder and an archive of it have
    one order.
    """
    return tuple(natural(part) for part in PurePosixPath(name).parts)


def unreadable(reason: object) -> OSError:
    """What `Picture.read` raises: an OSError whose `strerror` is the reason."""
    return OSError(errno.EIO, str(reason))
