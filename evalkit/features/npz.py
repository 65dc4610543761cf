"""Arrays in one .npz file without pickles, and new arrays that may not fit in memory.

From 1 GiB on, an array of a file is mapped, not read: the system keeps what is used in memory, and
drops it where memory is short. It is checked all the same. A new array of that size which takes
more than a third of the available memory is kept in a temporary file, which ends with the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import mmap
import os
import struct
import tempfile
import zipfile
from collections.abc import Callable, Generator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.features.map_ahead import one_ahead
from evalkit.features.memory import available
from evalkit.files import atomic_file

LARGE = 2**30  # bytes of an array that may be kept outside of memory
BLOCK = 2**26  # bytes of a new array that are written to a file at once
Fill = Callable[[int, NDArray[np.float32]], object]
_ALIGNED = 64  # bytes: the values of each array begin at a multiple, as mapped arrays should
_LOCAL = struct.Struct("<26xHH")  # of the header of a member: the lengths of its name and its extra
_ZIP64 = 20  # bytes that zipfile adds to the extra of a member that may be large


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays, none of objects, with `sha256` of them all."""
    with atomic_file(path) as file, zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in (*arrays.items(), ("sha256", np.array(_sha256(arrays)))):
            member = zipfile.ZipInfo(f"{name}.npy")
            begins = archive.fp.tell() + 30 + len(member.filename) + _ZIP64  # type: ignore[union-attr]
            filling = -(begins + 4) % _ALIGNED  # 4 bytes: a number and the length
            member.extra = struct.pack("<HH", 0xE4A1, filling) + bytes(filling)
            with archive.open(member, "w", force_zip64=True) as opened:
                np.lib.format.write_array(opened, np.asanyarray(array), allow_pickle=False)


def read(
    path: Path, names: Sequence[str] | None = None, large: int | None = None
) -> dict[str, NDArray[Any]]:
    """The arrays of a file, or those of these names, which are then not checked.

    large: bytes from which on an array is mapped; None: LARGE.

    Raises an error of some kind for a file that is missing, damaged or not as it was written.
    """
    large = LARGE if large is None else large
    with path.open("rb") as file:
        found = {
            member.filename.removesuffix(".npy"): _array(file, member, large)
            for member in zipfile.ZipFile(file).infolist()
            if names is None or member.filename.removesuffix(".npy") in names
        }
    if names is None and str(found.pop("sha256")) != _sha256(found):
        raise ValueError(f"{path} is not as it was written")
    return found


def in_memory(shape: Sequence[int]) -> NDArray[np.float32] | None:
    """A new array float32 in memory; None where it does not fit."""
    size = _bytes(shape)
    if size < LARGE:
        return np.empty(shape, np.float32)
    if 3 * size > available() and hasattr(os, "posix_fallocate"):  # not on macOS and Windows
        return None
    try:
        # All pages at once, as all are written: one by one, 8 GB took 16 s and not 3 s.
        kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        return np.frombuffer(mmap.mmap(-1, size, flags=kind), np.float32).reshape(shape)
    except AttributeError:  # macOS and Windows
        return np.empty(shape, np.float32)
    except OSError:  # refused memory
        return None


def filled(shape: Sequence[int], folder: Path, fill: Fill) -> NDArray[np.float32]:
    """A new array float32; in a temporary file of the folder where it does not fit in memory.

    A file is written from its begin to its end: 7 GB that were written here and there took 164 s.

    fill: called as `fill(first, out)` to set `out` to the rows from `first` on.
    """
    found = in_memory(shape)
    if found is None:
        with contextlib.suppress(OSError):
            return _filled_file(shape, folder, fill)
        found = np.empty(shape, np.float32)
    fill(0, found)
    return found


def _filled_file(shape: Sequence[int], folder: Path, fill: Fill) -> NDArray[np.float32]:
    with tempfile.TemporaryFile(dir=folder) as file:
        # Reserved now: where the disk is full later, the process would be killed.
        os.posix_fallocate(file.fileno(), 0, _bytes(shape))
        with contextlib.closing(one_ahead(_blocks(shape, fill))) as blocks:
            for block in blocks:
                file.write(block.data)
        file.flush()
        return np.asarray(np.memmap(file, np.float32, "r+", shape=tuple(shape)))


def _blocks(shape: Sequence[int], fill: Fill) -> Generator[NDArray[np.float32], None, None]:
    """The rows block by block; each is used before the next but one is made."""
    rows = min(shape[0], max(1, BLOCK // _bytes((1, *shape[1:]))))
    buffers = itertools.cycle([np.empty((rows, *shape[1:]), np.float32) for _ in range(2)])
    for first, buffer in zip(range(0, shape[0], rows), buffers, strict=False):
        block = buffer[: shape[0] - first]
        fill(first, block)
        yield block


def _bytes(shape: Sequence[int]) -> int:
    return 4 * int(np.prod(shape, dtype=np.int64))


def _array(file: BufferedReader, member: zipfile.ZipInfo, large: int) -> NDArray[Any]:
    """One array; ZIP's own checksum is left to SHA-256."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    file.seek(member.header_offset)
    name, extra = _LOCAL.unpack(file.read(_LOCAL.size))
    file.seek(name + extra, os.SEEK_CUR)
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else None
    header = header or np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(file)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if dtype.hasobject or fortran or size > member.file_size:
        raise ValueError(f"{member.filename} is no plain array")
    # Windows replaces no file that is mapped, and an old file has values at odd places.
    if size >= large and os.name == "posix" and file.tell() % dtype.alignment == 0:
        return np.asarray(np.memmap(file, dtype, "c", file.tell(), shape))
    array = np.empty(shape, dtype)
    if file.readinto(array.reshape(-1).view(np.uint8).data) != size:
        raise ValueError(f"{member.filename} is cut off")
    return array


def _sha256(arrays: Mapping[str, NDArray[Any]]) -> str:
    """A hash of the names, types, shapes and values of arrays."""
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype.str} {array.shape}\0".encode())
        found.update(np.ascontiguousarray(array).data)  # without a copy, unlike `tobytes`
    return found.hexdigest()
