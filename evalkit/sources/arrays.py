"""Images in one array: .npz like the samples of ADM (`arr_0`, uint8 [N, H, W, 3]), or .npy.

The array is read image by image, never as a whole, and never unpickled.
"""

from __future__ import annotations

import math
import tokenize
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
from evalkit.escape import visible
from evalkit.images import PIXEL_LIMIT, is_image_name
from evalkit.images.room import FILES
from evalkit.sources.image import (
    ImageSource,
    SourceImage,
    check_count,
    check_names,
    check_unpacked,
    check_zip_methods,
    unreadable,
)
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


class ArrayHeader(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


def array_source(path: Path) -> ImageSource:
    """The images of an .npz or .npy file in their order. They must be uint8."""
    if path.suffix.lower() == ".npy":
        name, header = path.name, _npy_header(path)
    else:
        name, header = _member(path)
    if len(header.shape) == 3 and header.shape[2] in (3, 4):
        # One image [H, W, 3], not gray images of 3 pixels width.
        header = header._replace(shape=(1, *header.shape))
    _check(path, name, header)
    _check_size(path, name, header)
    replay = Replay(partial(_pixels, path, name, header), lambda pixels: pixels.nbytes)

    def take(number: int) -> NDArray[np.uint8]:
        with FILES.take(math.prod(header.shape[1:])):
            return replay.take(number)

    def images() -> Iterator[SourceImage]:
        label = name.removesuffix(".npy")
        return (
            SourceImage(f"{label}[{number}]", partial(take, number))
            for number in range(header.shape[0])
        )

    return ImageSource(str(path), "array", images, header.shape[0])


def read_header(file: IO[bytes]) -> ArrayHeader:
    """The header of .npy data. The file is then at the first value. Raises ValueError."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        shape, fortran, dtype = read(file)
    except (ValueError, tokenize.TokenError, SyntaxError, RecursionError, MemoryError) as error:
        # Texts of numpy name addresses in memory, and advise to allow pickles.
        raise ValueError("its header is damaged") from error
    if not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"its header states the shape {list(shape)}")
    return ArrayHeader(shape, fortran, dtype)


def check_held(header: ArrayHeader, held: int) -> None:
    """Raise ValueError for a header that states more bytes than there are.

    The size of Python objects, which some tools store beside their numbers, is not known.
    """
    if header.dtype.hasobject:
        return
    size = math.prod(header.shape) * header.dtype.itemsize
    if size > held:
        raise ValueError(f"it states {list(header.shape)}, {size:.3g} bytes, and has {held:,}")


def check_zip(path: Path) -> None:
    """Check the members of an .npz or .pt file before they are read into memory.

    Raises ValueError for a header that states more than its member has, and EvalkitError for a
    file that unpacks to far more than numbers do.
    """
    with zipfile.ZipFile(path) as archive:
        check_zip_methods(path, archive)
        items = archive.infolist()
        check_unpacked(path, sum(item.file_size for item in items), path.stat().st_size)
        for item in items:
            if item.filename.endswith(".npy"):
                with archive.open(item) as file:
                    check_held(read_header(file), item.file_size)


def _member(path: Path) -> tuple[str, ArrayHeader]:
    """The name and header of `arr_0`, or of the only array with four dimensions."""
    try:
        with zipfile.ZipFile(path) as archive:
            check_zip_methods(path, archive)
            headers: dict[str, ArrayHeader] = {}
            names = archive.namelist()
            check_names(f"The file {path}", names)
            if any(is_image_name(name) for name in names):
                raise EvalkitError(
                    f"{path} is a zip archive of files such as {visible(names[0])}; expected arrays"
                    " of numpy.",
                    "Rename it to .zip.",
                    code="sources-15",
                )
            for name in names:
                if name.endswith(".npy"):
                    with archive.open(name) as file:
                        headers[name] = read_header(file)
    except _DAMAGE as error:
        raise EvalkitError(
            f"The file {path} cannot be read: {error}.",
            "Save it again as a complete .npz of numpy.",
            code="sources-16",
        ) from error
    if "arr_0.npy" in headers:
        return "arr_0.npy", headers["arr_0.npy"]
    found = [name for name, header in headers.items() if len(header.shape) == 4]
    if len(found) != 1:
        arrays = ", ".join(
            f"{name.removesuffix('.npy')} {list(header.shape)}" for name, header in headers.items()
        )
        raise EvalkitError(
            f"The file {path} contains {arrays or 'nothing'}; expected images in arr_0, uint8 "
            "[N, H, W, 3].",
            "Save the images under that name.",
            code="sources-17",
        )
    return found[0], headers[found[0]]


def _npy_header(path: Path) -> ArrayHeader:
    try:
        with path.open("rb") as file:
            return read_header(file)
    except _DAMAGE as error:
        raise EvalkitError(
            f"The file {path} cannot be read: {error}.",
            "Save it again as an .npy file of numpy.",
            code="sources-18",
        ) from error


def _check(path: Path, name: str, header: ArrayHeader) -> None:
    found = (
        f"The array {name.removesuffix('.npy')} in {path} is {header.dtype} {list(header.shape)}"
    )
    wanted = "expected uint8 [N, H, W, 3]"
    if header.dtype.hasobject:
        raise EvalkitError(
            f"{found}, which is a pickle; {wanted}.",
            "Pickles are not read: they may run code.",
            code="sources-19",
        )
    if len(header.shape) == 4 and header.shape[1] in (1, 3) and header.shape[3] not in (1, 3, 4):
        raise EvalkitError(
            f"{found}, channels first; {wanted}.",
            "Save it as array.transpose(0, 2, 3, 1).",
            code="sources-20",
        )
    if header.dtype.kind == "f":
        hint = "Save uint8, for values of 0 to 1 as (255 * array).round().astype('uint8')."
        raise EvalkitError(
            f"{found}: floats of an unknown range; {wanted}.", hint, code="sources-21"
        )
    if header.dtype != np.uint8:
        raise EvalkitError(
            f"{found}; {wanted}.", "Save the values of 0 to 255 as uint8.", code="sources-22"
        )
    if (
        len(header.shape) not in (3, 4)
        or (len(header.shape) == 4 and header.shape[3] not in (1, 3, 4))
        or 0 in header.shape
    ):
        raise EvalkitError(
            f"{found}; {wanted}.",
            "Or [N, H, W] for gray, [H, W, 3] for one image, [N, H, W, 4] with alpha 255.",
            code="sources-23",
        )
    if header.fortran:
        raise EvalkitError(
            f"{found} in Fortran order; expected C order.",
            "Save np.ascontiguousarray(array).",
            code="sources-24",
        )


def _check_size(path: Path, name: str, header: ArrayHeader) -> None:
    """Refuse a header that states more than the file holds, or more than memory takes."""
    packed = held = path.stat().st_size
    if path.suffix.lower() != ".npy":
        with zipfile.ZipFile(path) as archive:
            held = archive.getinfo(name).file_size
    array = f"The array {name.removesuffix('.npy')} in {path}"
    size = math.prod(header.shape)
    if size > held:
        raise EvalkitError(
            f"{array} states {list(header.shape)}, which is {size:.3g} bytes; it holds {held:,}.",
            "It is damaged: save it again.",
            code="sources-25",
        )
    height, width = header.shape[1:3]
    if height * width > PIXEL_LIMIT:
        raise EvalkitError(
            f"{array} has images of {width:,} x {height:,} pixels; expected at most 64 million.",
            "Give smaller images.",
            code="sources-26",
        )
    check_count(path, header.shape[0])
    check_unpacked(path, size, packed)


def _pixels(path: Path, name: str, header: ArrayHeader) -> Iterator[NDArray[np.uint8]]:
    """The pixels of one image after the other."""
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
    rows = max(1, _BLOCK // size)
    for first in range(0, count, rows):
        expected = min(rows, count - first)
        data = file.read(expected * size)
        complete = len(data) // size
        yield from np.frombuffer(data, np.uint8, complete * size).reshape(complete, *shape)
        if complete < expected:
            raise EOFError(f"it ends after {first + complete} of {count} images")
