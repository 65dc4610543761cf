"""Atomic writes, append-only files of JSON lines that survive a kill, and what text files are.

A row and an object of JSON can hold a check: a hash of the rest, by which a damage is found.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from evalkit.core import EvalkitError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

log = logging.getLogger(__name__)
CHECK = "check"  # the key of the hash in a row


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a complete file or nothing; see `atomic_file`."""
    with atomic_file(path) as file:
        file.write(data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears complete at the end of the block, or not at all.

    It is written under a temporary name in the same folder, synced and renamed.
    """
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException as error:
        if name:
            with contextlib.suppress(OSError):
                os.unlink(name)
        if isinstance(error, OSError):
            raise EvalkitError(
                f"Could not write {path}: {error.strerror}.",
                "Free some space, or write to another folder.",
            ) from error
        raise


def remove(path: Path) -> None:
    """Remove a file that may be absent. Raises EvalkitError where something else has its name."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise EvalkitError(
            f"Could not remove {path}: {error.strerror}.", "Remove it, then do the same again."
        ) from error


def plain_name(text: str, most: int = 200) -> str:
    """The text as a file name of at most `most` bytes: letters, digits, `_`, `-` and dots inside.

    File systems take names of at most 255 bytes; the rest is for an ending and temporary names.
    """
    name = re.sub(r"[^\w.-]+", "-", text).strip(".-")
    return name.encode()[:most].decode(errors="ignore").rstrip(".-") or "run"


def digest(content: Any) -> str:
    """SHA-256 of a value as JSON. Raises ValueError where it is not finite."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def with_check(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content and a hash of it."""
    rest = {name: value for name, value in content.items() if name != CHECK}
    return {**rest, CHECK: digest(rest)[:16]}


def checked(content: Any) -> dict[str, Any]:
    """The content without its hash; files of earlier versions have none.

    Raises ValueError or TypeError if it is no object, or another one than was written.
    """
    rest = dict(content)
    stated = rest.pop(CHECK, None)
    if stated not in (None, digest(rest)[:16]):
        raise ValueError("the content has another hash")
    return rest


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append JSON lines, each with its hash, and wait until they are on disk."""
    try:
        with path.open("ab+") as file:
            # A kill during an append may leave half a line: end it before the next row.
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            torn = file.read(1) not in (b"", b"\n")
            text = "".join(f"{json.dumps(with_check(row), ensure_ascii=False)}\n" for row in rows)
            file.write(("\n" * torn + text).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise EvalkitError(
            f"Could not write {path}: {error.strerror}.",
            "Free some space, then run the same command again.",
        ) from error


def lock(handle: int) -> bool:
    """Lock an open file or folder; False if another process holds the lock.

    The system releases it when the handle is closed, also after a kill. True where there are no
    locks: on Windows, and on some file systems.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def fsync_folder(folder: Path) -> None:
    """Sync a folder, so that renames in it survive a crash; some systems cannot."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of JSON lines; a line that a kill cut short is skipped, with a warning.

    Raises ValueError, TypeError or RecursionError for a line that was damaged otherwise.
    """
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError:
            if line.rstrip().endswith(b"}"):
                raise
            state = path.stat()
            _mention_cut_line(path, number, state.st_size, state.st_mtime_ns)
            continue
        if row is not None:
            yield checked(row)


@functools.lru_cache(maxsize=1000)  # a file is read several times
def _mention_cut_line(path: Path, number: int, *state: int) -> None:
    log.warning("%s: line %d is cut short and counts as not written", path, number)


_POINTERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not its file (`git lfs pull` fetches it)"),
    (b"/annex/objects/", "a git-annex pointer"),
)


def kind_of_text(head: bytes) -> str:
    """The kind of a text file that is mistaken for others, "" for plain text."""
    for magic, kind in _POINTERS:
        if head.startswith(magic):
            return kind
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1024].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page, not what it links to"
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in start):
        return "SVG"
    is_object = start.startswith(b"{") and start[1:].lstrip().startswith(b'"')
    if is_object or start.startswith(b"<?xml"):
        return "a text answer of a server" if b"error" in start else ""
    return ""
