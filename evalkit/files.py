"""Reading within limits, atomic writes, JSON lines that survive a kill, and what text files are.

A row and an object of JSON can hold a check: a hash of the rest, by which a damage is found.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import json
import logging
import os
import platform
import re
import stat
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from evalkit.core import EvalkitError
from evalkit.locks import Held, take_lock

log = logging.getLogger(__name__)
CHECK = "check"  # the key of the hash in a row


_PIPES = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")  # a shell's pipes, which have a writer
_piped: dict[tuple[int, int], bytes] = {}  # by device and number of the pipe: what it held


def path_of(value: Any, name: str) -> Path:
    """An argument that is a path; `~` is the home folder. Raises EvalkitError for another type."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text:  # "" would be the current folder
        raise EvalkitError(
            f"{name} is {value!r:.80}; expected a path, as a text or a Path.",
            "Give the path of one file or folder.",
            code="files-4",
        )
    return Path(os.path.expanduser(text))  # quoted, a shell keeps `~`


def paths_of(value: Any, name: str) -> list[Any]:
    """An argument that is a path or several paths, as a list. Raises EvalkitError for others."""
    if isinstance(value, str | os.PathLike):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, bytes | Mapping):
        raise EvalkitError(
            f"{name} is {value!r:.80}; expected a path, or a list of paths.",
            "Give paths as texts or as Path.",
            code="files-5",
        )
    found = list(value)
    for one in found:
        path_of(one, name)
    return found


def read_limited(path: Path, limit: int) -> bytes:
    """The bytes of a file, or of a pipe of the shell.

    A pipe has its content once; a later call returns the same.

    Raises OSError for a device, a named pipe or a socket, which may never end or never begin, and
    for more than `limit` bytes.
    """
    state = os.stat(path)
    mode = state.st_mode
    piped = stat.S_ISFIFO(mode) and str(path).startswith(_PIPES)
    if not (stat.S_ISREG(mode) or piped):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
        raise OSError(errno.EINVAL, f"{kind}, not a file")
    flags = 0 if piped else getattr(os, "O_NONBLOCK", 0)  # some files of the kernel never answer
    handle = os.open(path, os.O_RDONLY | flags | getattr(os, "O_BINARY", 0))
    with open(handle, "rb") as file:
        size = os.fstat(handle).st_size  # 0 for a pipe and for files of the kernel
        data = b"" if size > limit else file.read(min(size, limit) or limit + 1)
    data = data or b""  # None where a file of the kernel has nothing to say
    if (size := max(size, len(data))) > limit:
        raise OSError(errno.EFBIG, f"{size / 2**20:.0f} MiB, more than {limit >> 20}")
    if piped:
        key = state.st_dev, state.st_ino
        data = _piped[key] = data or _piped.get(key, b"")
    return data


def read_utf8(path: Path, limit: int = 16 << 20) -> str:
    """The text of a file, with lines that end in "\\n"; see `read_limited`.

    Raises OSError for whatever is wrong with it, also for a name that no file can have.
    """
    try:
        return io.TextIOWrapper(io.BytesIO(read_limited(path, limit)), encoding="utf-8").read()
    except ValueError as error:
        encoded = isinstance(error, UnicodeDecodeError)
        reason = "it is not UTF-8" if encoded else "no file can have this name"
        raise OSError(errno.EINVAL, reason) from error


_DEEP = re.compile(r"""(?<![\w"'-])(?:[\w"'-]++\s*+\.\s*+){100}""")


def parse_toml(text: str) -> dict[str, Any]:
    """The values of a TOML text. Raises ValueError, and RecursionError for what is nested deeply.

    tomllib takes minutes for a key of very many parts.
    """
    if _DEEP.search(text):
        raise ValueError("a key has more than 100 parts")
    return tomllib.loads(text)


_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_PLACE = (
    *(errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.EISDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL),
)


def remedy(error: OSError, other: str) -> str:
    """What to do where a file cannot be written; `other` is what helps against any refusal."""
    if error.errno in _ALLOWED:
        return f"Make the folder writable for this user, or {other}."
    if error.errno in _PLACE:
        return f"{other[:1].upper()}{other[1:]}."
    return f"Free some space, or {other}."


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a complete file or nothing; see `atomic_file`."""
    with atomic_file(path) as file:
        file.write(data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears complete at the end of the block, or not at all.

    It is written under a temporary name in the same folder, synced and renamed. Temporary files of
    killed processes are removed by the first write of a process to their folder.
    """
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        handle, name = _temporary(path.parent)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(name, 0o644)
            if sys.platform != "win32":
                os.replace(name, path)  # while it is locked
        if sys.platform == "win32":  # renames no open file
            _replace_closed(name, path)
    except BaseException as error:
        if name:
            with contextlib.suppress(OSError):
                os.unlink(name)
        if isinstance(error, OSError):
            raise EvalkitError(
                f"Could not write {path}: {error.strerror}.",
                remedy(error, "use another folder, or a copy of this one"),
                code="files-1",
            ) from error
        raise


def _replace_closed(name: str, path: Path) -> None:
    """Rename a file on Windows, which refuses this while another program reads the old one."""
    for seconds in (0.01, 0.1, 1):
        with contextlib.suppress(PermissionError):
            return os.replace(name, path)
        time.sleep(seconds)
    return os.replace(name, path)


# A temporary file is locked while it is written, so the lock of a dead process is free, whatever
# process has its number now. Not every file system shares locks between machines: each machine
# removes only its own files.
_PREFIX = f".evalkit-{hashlib.sha256(platform.node().encode()).hexdigest()[:8]}-"
_swept: set[str] = set()  # folders; the folder of a large run is listed once


def _temporary(folder: Path) -> tuple[int, str]:
    """The handle and the name of a new file, locked."""
    while True:
        handle, name = tempfile.mkstemp(dir=folder, prefix=_PREFIX)
        try:
            take_lock(handle)
        except Held:
            pass  # a sweep of another process was faster
        except OSError:  # no locks, and so no sweeps
            return handle, name
        else:
            if os.fstat(handle).st_nlink:
                return handle, name
        os.close(handle)


def _sweep(folder: Path) -> None:
    """Remove the temporary files of killed processes of this machine."""
    if sys.platform == "win32" or (place := os.path.abspath(folder)) in _swept:
        return
    _swept.add(place)
    with contextlib.suppress(OSError):
        for name in [name for name in os.listdir(place) if name.startswith(_PREFIX)]:
            with contextlib.suppress(OSError):
                handle = os.open(os.path.join(place, name), os.O_RDWR | os.O_NOFOLLOW)
                try:
                    take_lock(handle)
                    os.unlink(os.path.join(place, name))
                finally:
                    os.close(handle)


def remove(path: Path) -> None:
    """Remove a file that may be absent. Raises EvalkitError where something else has its name."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise EvalkitError(
            f"Could not remove {path}: {error.strerror}.",
            "Remove it, then do the same again.",
            code="files-2",
        ) from error


# Windows opens devices under these names, whatever their ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def is_device(name: str) -> bool:
    """Whether a file or folder of this name cannot be made on Windows."""
    return _DEVICE.fullmatch(name) is not None


def plain_name(text: str, most: int = 200) -> str:
    """The text as a file name of at most `most` bytes: letters, digits, `_`, `-` and dots inside.

    File systems take names of at most 255 bytes; the rest is for an ending and temporary names.
    """
    name = re.sub(r"[^\w.-]+", "-", text).strip(".-")
    name = f"_{name}" if is_device(name) else name
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
    if not isinstance(content, Mapping):
        raise TypeError(f"{content!r:.80} is no object")
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
            remedy(error, "use a copy of the folder") + " Then run the same command again.",
            code="files-3",
        ) from error


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
