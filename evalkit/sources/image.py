"""What every source of images gives: names, and functions that read the content from any thread."""

from __future__ import annotations

import errno
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.core import EvalkitError
from evalkit.escape import visible
from evalkit.images import FORMATS, is_image_name, natural
from evalkit.images.kinds import kind_of
from evalkit.terminal import shorten

# The bytes of a file, or the pixels [H, W] or [H, W, C] of an array, which has no image format.
Content = bytes | NDArray[np.uint8]
NOT_AN_IMAGE = "not an image"  # a reason why a file is not taken
CONTENT = "?"  # see `why_not`
COUNT_LIMIT = 1_500_000  # images of a set; ImageNet has 1,281,167
_UNPACKED = 512 << 20  # bytes that any archive may have unpacked
_RATIO = 100  # images are compressed already
_UNFINISHED = (".part", ".crdownload", ".download", ".tmp", ".partial")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found")


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
    left: Mapping[str, str] = field(default_factory=dict)  # file that is not taken -> the reason

    def __iter__(self) -> Iterator[SourceImage]:
        return self.start()


def why_not(path: str) -> str | None:
    """Why a file is not taken, by its path: None for the name of an image.

    "" means a file that is not worth a word, CONTENT that the content decides (`why_not_content`).
    """
    *folders, name = PurePosixPath(path).parts
    looks = is_image_name(name.lstrip("."))
    if system := next((part for part in folders if part in SYSTEM_FOLDERS), ""):
        return f"in {system}" if looks else ""
    if any(part.startswith(".") and part not in (".", "..") for part in (*folders, name)):
        return "hidden" if looks else ""
    if looks:
        return None
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _UNFINISHED:
        return "an unfinished download"
    return "an archive inside" if suffix in _ARCHIVES else CONTENT


def why_not_content(head: bytes) -> str | None:
    """Like `why_not`, by the first bytes of a file whose name says nothing."""
    return None if kind_of(head) in FORMATS else NOT_AN_IMAGE


def not_taken(left: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """How many files are not taken, and for each reason their number and first ten names.

    left: the name of each file, and the reason.
    """
    reasons: dict[str, list[str]] = {}
    for name, reason in left:
        reasons.setdefault(reason, []).append(visible(name))
    listed = {why: {"count": len(names), "names": names[:10]} for why, names in reasons.items()}
    return {"count": sum(map(len, reasons.values())), "reasons": listed}


def in_words(found: Mapping[str, Any]) -> str:
    """`3 files are not taken: 2 not an image (a.txt, b.txt); 1 a broken link (c.png)`."""
    verb = "file is" if found["count"] == 1 else "files are"
    parts = []
    for reason, item in found["reasons"].items():
        more = ", …" if item["count"] > len(item["names"]) else ""
        names = ", ".join(shorten(name, 100) for name in item["names"])
        parts.append(f"{item['count']} {reason} ({names}{more})")
    return f"{found['count']} {verb} not taken: {'; '.join(parts)}"


def natural_path(name: str) -> tuple[object, ...]:
    """A sort key for paths: every part in natural order, so a folder and its archive agree."""
    return tuple(natural(part) for part in PurePosixPath(name).parts)


def check_unpacked(place: object, unpacked: int, packed: int) -> None:
    """Raise EvalkitError for a file that unpacks to far more than images do."""
    if unpacked > _UNPACKED + _RATIO * packed:
        raise EvalkitError(
            f"{place} unpacks to {unpacked / 2**30:.3g} GiB, over {_RATIO} times its size; expected"
            " images or numbers, which cannot be compressed that far.",
            "Do not use it: it is damaged, or made to exhaust the memory.",
            code="sources-37",
        )


def check_zip_methods(place: object, archive: zipfile.ZipFile) -> None:
    """Raise EvalkitError for methods other than deflate: zipfile unpacks their blocks at once."""
    for item in archive.infolist():
        if item.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise EvalkitError(
                f"{place} is compressed with method {item.compress_type} of zip; expected deflate"
                " or none.",
                "Create it again with one of these methods.",
                code="sources-38",
            )


def check_names(place: object, names: Iterable[str]) -> None:
    """Raise EvalkitError where two members have one name: readers differ in which one they take."""
    for name, times in Counter(names).items():
        if times > 1:
            raise EvalkitError(
                f"{place} contains several files named {name!r}.",
                "Create it again with one file of each name.",
                code="sources-39",
            )


def check_count(place: object, count: int) -> None:
    """Raise EvalkitError for more images than fit into memory with what is known about each."""
    if count > COUNT_LIMIT:
        raise EvalkitError(
            f"{place} has {count:,} images; expected at most {COUNT_LIMIT:,}.",
            "Give fewer images.",
            code="sources-40",
        )


def unreadable(reason: object) -> OSError:
    """The exception of `SourceImage.read`: an OSError with the reason as `strerror`."""
    return OSError(errno.EIO, str(reason))
