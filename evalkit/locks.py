"""Locks on files and folders, which end with the process that holds them, also after a kill."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path

from evalkit.core import EvalkitError

if sys.platform == "win32":
    import msvcrt

    Held = PermissionError

    def take_lock(handle: int) -> None:
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    def share_lock(handle: int) -> None:
        take_lock(handle)
else:
    import fcntl

    Held = BlockingIOError

    def take_lock(handle: int) -> None:
        """Lock an open file or folder until it is closed.

        Raises `Held` if another process has the lock, another OSError where there are no locks.
        """
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def share_lock(handle: int) -> None:
        """Lock it as `take_lock`, beside others that share the lock."""
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)


log = logging.getLogger(__name__)
# The lock files that the code of this thread holds.
_held: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())
_handles: set[int] = set()  # of `alone`


def _let_go() -> None:
    """In a fork, such as a worker of a data loader: it must not keep locks when this one dies."""
    for handle in _handles:
        with contextlib.suppress(OSError):
            os.close(handle)
    _handles.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_let_go)


def lock(handle: int, path: Path) -> bool:
    """Lock an open file or folder until it is closed; False if another process holds the lock.

    Where the file system has no locks, a warning names the path, and the answer is True.
    """
    try:
        take_lock(handle)
    except Held:
        return False
    except OSError as error:
        log.warning(
            "%s cannot be locked (%s): do not start a second command on it at the same time",
            path,
            error.strerror,
        )
    return True


def open_folder(folder: Path) -> int:
    """A handle by which `lock` locks a folder; on Windows, that of a file `.lock` in it."""
    if sys.platform == "win32":  # a folder cannot be opened there
        return os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    return os.open(folder, os.O_RDONLY)


def is_locked(path: Path) -> bool:
    """Whether another process holds a lock file. False where there is none, or no locks."""
    with contextlib.suppress(OSError), path.open("rb+") as file:
        for _ in range(10):  # where locks cannot be shared, another one may be looking, too
            try:
                share_lock(file.fileno())
            except Held:
                time.sleep(0.05)
            else:
                return False
        return True
    return False


@contextlib.contextmanager
def alone(path: Path, refusal: str = "") -> Iterator[None]:
    """Hold a lock file during the block; nothing happens if this thread holds it already.

    If another process holds it, wait until that one ends. The lock ends with the process, also
    after a kill. The file is removed after the block, with the folders that were made for it, if
    they are empty. A folder that cannot be written to is not locked.

    Raises EvalkitError with the sentence `refusal`, if there is one, instead of waiting.
    """
    whole = Path(os.path.realpath(path))  # unlike resolve(), takes a loop of links
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
    _handles.add(handle)
    process = os.getpid()
    try:
        yield
    finally:
        _held.reset(token)
        if os.getpid() == process:
            _release(path, handle, new)


def _release(path: Path, handle: int, new: Sequence[Path]) -> None:
    """End a lock, and remove its file and the folders that were made for it."""
    _handles.discard(handle)
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
                raise EvalkitError(refusal, "Wait until it ends, or stop it.", code="locks-1")
            elif not waiting:
                log.warning("waiting for another process that writes to %s", path.parent)
                waiting = True
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        time.sleep(0.1)
