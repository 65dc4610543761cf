"""Whether the folders that evalkit writes can be written, synced and locked."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from evalkit import files
from evalkit.core import EvalkitError
from evalkit.doctor.check import Check, State
from evalkit.encoders.weights import cache_folder
from evalkit.locks import take_lock

_GIB = 2**30


def checks() -> list[Check]:
    return [
        folder("current folder", Path.cwd(), 1.0, "bad", "go to another folder or disk"),
        folder("temporary files", Path(tempfile.gettempdir()), 0.2, "bad",
            "set TMPDIR to a folder elsewhere"),
        folder("cache of weights", cache_folder(), 1.0, "note",
            "set EVALKIT_CACHE to a folder elsewhere before you fetch weights"),
    ]  # fmt: skip


def folder(topic: str, path: Path, least: float, state: State, other: str) -> Check:
    """Write, sync, rename and lock a file in a folder, or in the nearest one that exists.

    least: GiB that should be free. state: of a folder that cannot be written or is nearly full.
    other: what helps in both cases.
    """
    try:
        there = next(place for place in (path, *path.absolute().parents) if place.exists())
        probe = there / f".evalkit-doctor-{os.getpid()}"
        files.write_atomically(probe, b"evalkit")
        try:
            locked = _locks(probe)
            free = shutil.disk_usage(there).free / _GIB
        finally:
            probe.unlink()
    except (EvalkitError, OSError) as error:
        refused = error.__cause__ if isinstance(error.__cause__, OSError) else error
        reason = getattr(refused, "strerror", "") or getattr(error, "message", error)
        advice = files.remedy(refused, other) if isinstance(refused, OSError) else ""
        return Check(topic, state, f"{path} cannot be written: {reason}", advice)
    finding = f"{free:,.1f} GiB free in {path}"
    if free < least:
        advice = f"Free some space, or {other}."
        return Check(topic, state, f"{finding}; at least {least:g} GiB are useful", advice)
    if not locked:
        return Check(
            topic, "note", f"{finding}; its file system has no locks",
            "Do not let two commands write the same run folder there.",
        )  # fmt: skip
    return Check(topic, "ok", finding)


def _locks(path: Path) -> bool:
    """Whether the file system of this file has locks, which commands do without."""
    with path.open("rb") as file:
        try:
            take_lock(file.fileno())
        except OSError:
            return False
    return True
