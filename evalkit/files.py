"""Atomic writes, locks, files of JSON lines that survive a kill, and what text files are."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

from evalkit.core import EvalkitError

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


log = logging.getLogger(__name__)
# The lock files that the code of this thread holds.
_held: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())


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


def plain_name(text: str, most: int = 200) -> str:
    """The text as a file name of at most `most` bytes: letters, digits, `_`, `-` and dots inside.

    File systems take names of at most 255 bytes; the rest is for an ending and temporary names.
    """
    name = re.sub(r"[^\w.-]+", "-", text).strip(".-")
    return name.encode()[:most].decode(errors="ignore").rstrip(".-") or "run"


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append JSON lines and wait until they are on disk."""
    try:
        with path.open("ab+") as file:
            # A kill during an append may leave half a line: end it before the next row.
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            torn = file.read(1) not in (b"", b"\n")
            text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
            file.write(("\n" * torn + text).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise EvalkitError(
            f"Could not write {path}: {error.strerror}.",
            "Free some space, then run the same command again.",
        ) from error


def lock(handle: int, path: Path) -> bool:
    """Lock an open file or folder; False if another process holds the lock.

    The system releases it when the handle is closed, also after a kill. Where the file system has
    no locks, a warning names the path, and the answer is True.
    """
    try:
        _lock(handle)
    except (BlockingIOError, PermissionError):  # held; the second one is that of Windows
        return False
    except OSError as error:
        log.warning(
            "%s cannot be locked (%s): do not start a second command on it at the same time",
            path,
            error.strerror,
        )
    return True


@contextlib.contextmanager
def alone(path: Path, refusal: str = "") -> Iterator[None]:
    """Hold a lock file during the block; nothing happens if this thread holds it already.

    If another process holds it, wait until that one ends. The lock ends with the process, also
    after a kill. The file is removed after the block, with the folders that were made for it, if
    they are empty. A folder that cannot be written to is not locked.

    Raises EvalkitError with the sentence `refusal`, if there is one, instead of waiting.
    """
    whole = path.resolve()
    if whole in _held.get():
        yield
        return
    new = [folder for folder in path.parents if not os.path.exists(folder)]
    handle = -1
    with contextlib.suppress(OSError):  # what is written next says so
        handle = _locked(path, refusal)
    if handle < 0:
        yield
        return
    token = _held.set(_held.get() | {whole})
    try:
        yield
    finally:
        _held.reset(token)
        if sys.platform == "win32":  # an open file cannot be removed there
            os.close(handle)
        with contextlib.suppress(OSError):
            path.unlink()
        if sys.platform != "win32":
            os.close(handle)
        with contextlib.suppress(OSError):
            for folder in new:
                folder.rmdir()


def _locked(path: Path, refusal: str) -> int:
    """The handle of a lock file, once this process holds the lock."""
    waiting = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if lock(handle, path):
                with contextlib.suppress(FileNotFoundError):  # removed by its last owner
                    if os.path.samestat(os.fstat(handle), path.stat()):
                        return handle
            elif refusal:
                raise EvalkitError(refusal, "Wait until it ends, or stop it.")
            elif not waiting:
                log.warning("waiting for another process that writes to %s", path.parent)
                waiting = True
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        time.sleep(0.1)


def fsync_folder(folder: Path) -> None:
    """Sync a folder, so that renames in it survive a crash; some systems cannot."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of JSON lines; a line that a kill cut short is skipped."""
    for line in path.read_bytes().split(b"\n"):
        with contextlib.suppress(ValueError):  # the image of a cut line is made again
            yield json.loads(line)


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
