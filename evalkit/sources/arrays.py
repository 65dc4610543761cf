"""Pictures in one array: .npz as ADM's samplers write them (`arr_0` uint8 [N, H, W, 3], labels
beside it), or .npy.

The array is read picture by picture, never as a whole, and never unpickled.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from evalkit.core import EvalkitError
from evalkit.sources.picture import Picture, Source, unreadable
from evalkit.sources.replay import Replay

_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
)
_BLOCK = 1 << 20  # bytes read at once


class Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


def array_source(path: Path) -> Source:
    """The pictures of an .npz or .npy file in their order. Raises EvalkitError where the array
    holds no uint8 pictures.
    """
    if path.suffix.lower() == ".npy":
        name, header = path.name, _npy_header(path)
    else:
        name, header = _member(path)
    _check(path, name, header)
    replay = Replay(partial(_pictures, path, name, header), lambda pixels: pixels.nbytes)

    def pictures() -> Iterator[Picture]:
        label = name.removesuffix(".npy")
        return (
            Picture(f"{label}[{number}]", partial(replay.take, number))
            for number in range(header.shape[0])
        )

    return Source(str(path), "array", pictures, header.shape[0])


def read_header(file: IO[bytes]) -> Header:
    """The header of .npy data; the file then stands at the first value. Raises ValueError for
    anything else.
    """
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return Header(shape, fortran, dtype)


def holds_pictures(path: Path) -> bool:
    """Whether a file .npz or .npy has an array that may be pictures, of whatever type: it has four
    dimensions.
    """
    try:
        header = _npy_header(path) if path.suffix.lower() == ".npy" else _member(path)[1]
    except EvalkitError:
        return False
    return len(header.shape) == 4


def _member(path: Path) -> tuple[str, Header]:
    """`arr_0`, else the only array of four dimensions."""
    try:
        with zipfile.ZipFile(path) as archive:
            headers: dict[str, Header] = {}
            for name in archive.namelist():
                if name.endswith(".npy"):
                    with archive.open(name) as file:
                        headers[name] = read_header(file)
    except _DAMAGE as error:
        raise EvalkitError(
            f"The file {path} cannot be read: {error}.", "Expected an .npz of numpy, not truncated."
        ) from error
    if "arr_0.npy" in headers:
        return "arr_0.npy", headers["arr_0.npy"]
    found = [name for name, header in headers.items() if len(header.shape) == 4]
    if len(found) != 1:
        known = (
            ", ".join(
                f"{name.removesuffix('.npy')} {list(header.shape)}"
                for name, header in headers.items()
            )
            or "nothing"
        )
        raise EvalkitError(
            f"The file {path} holds {known}; expected pictures in arr_0, uint8 [N, H, W, 3].",
            "Save it with that name.",
        )
    return found[0], headers[found[0]]


def _npy_header(path: Path) -> Header:
    try:
        with path.open("rb") as file:
            return read_header(file)
    except _DAMAGE as error:
        raise EvalkitError(
            f"The file {path} cannot be read: {error}.", "Expected an .npy file of numpy."
        ) from error


def _check(path: Path, name: str, header: Header) -> None:
    found = (
        f"The array {name.removesuffix('.npy')} in {path} is {header.dtype} {list(header.shape)}"
    )
    wanted = "expected uint8 [N, H, W, 3]"
    if header.dtype.hasobject:
        raise EvalkitError(
            f"{found}, which is a pickle; {wanted}.", "Pickles are not read: they may run programs."
        )
    if len(header.shape) == 4 and header.shape[1] in (1, 3) and header.shape[3] not in (1, 3, 4):
        raise EvalkitError(
            f"{found}, channels first; {wanted}.", "Save it as array.transpose(0, 2, 3, 1)."
        )
    if header.dtype.kind == "f":
        hint = "Save uint8, for values of 0 to 1 as (255 * array).round().astype('uint8')."
        raise EvalkitError(f"{found}: floats, whose range nobody can tell; {wanted}.", hint)
    if header.dtype != np.uint8:
        raise EvalkitError(f"{found}; {wanted}.", "Save the values of 0 to 255 as uint8.")
    if (
        len(header.shape) not in (3, 4)
        or (len(header.shape) == 4 and header.shape[3] not in (1, 3, 4))
        or 0 in header.shape
    ):
        raise EvalkitError(
            f"{found}; {wanted}.",
            "Or [N, H, W] for gray, [N, H, W, 4] where alpha is 255 everywhere.",
        )
    if header.fortran:
        raise EvalkitError(
            f"{found} in Fortran order; expected C order.", "Save np.ascontiguousarray(array)."
        )


def _pictures(path: Path, name: str, header: Header) -> Iterator[NDArray[np.uint8]]:
    """One picture after the other, forwards through the file."""
    shape = header.shape[1:]
    size = math.prod(shape)
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                yield from _blocks(file, header.shape[0], size, shape)
        else:
            with zipfile.ZipFile(path) as archive, archive.open(name) as file:
                yield from _blocks(file, header.shape[0], size, shape)
    except _DAMAGE as error:
        raise unreadable(f"the array is damaged: {error}") from error


def _blocks(
    file: IO[bytes], count: int, size: int, shape: tuple[int, ...]
) -> Iterator[NDArray[np.uint8]]:
    read_header(file)
    together = max(1, _BLOCK // size)
    for first in range(0, count, together):
        rows = min(together, count - first)
        data = file.read(rows * size)
        whole = len(data) // size
        yield from np.frombuffer(data, np.uint8, whole * size).reshape(whole, *shape)
        if whole < rows:
            raise EOFError(f"it ends after {first + whole} of {count} pictures")
