"""Read numbers out of a pickle without running it: plain containers and numpy arrays, and nothing
else.

A pickle is a program; here the few names that it may call are replaced by stand-ins that only take
down what they are given, made anew for every file. Not even numpy's own reconstruction runs on what
a stranger wrote; arrays are made from their bytes afterwards.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.core import EvalkitError

SIZE_LIMIT = 1 << 30  # bytes of the file
PARTS = 10_000  # values in all containers together
HINT = "Expected a dict of numpy arrays. A pickle that needs more than that is a program, and is not run."
_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


def load(path: Path) -> Any:
    """What a pickle file holds; see `loads`."""
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise EvalkitError(
                f"The pickle {path} has {path.stat().st_size >> 20} MiB, more than {SIZE_LIMIT >> 20}.",
                HINT,
            )
        data = path.read_bytes()
    except OSError as error:
        raise EvalkitError(f"The file {path} cannot be read: {error.strerror}.", HINT) from error
    return loads(data, str(path))


def loads(data: bytes, place: str) -> Any:
    """What a pickle holds: dicts, lists, tuples, texts, numbers and numpy arrays of numbers;
    `place` is for messages.

    Raises EvalkitError for anything else, before anything of it has run.
    """
    try:
        return _plain(_Unpickler(io.BytesIO(data)).load(), [PARTS], 0)
    except Exception as error:  # a hostile or damaged pickle raises nearly everything
        raise EvalkitError(f"The pickle {place} is not read: {error}.", HINT) from error


class _Given:
    """A call that was asked for and not made: the arguments, and the state that followed."""

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.arguments, self.state = arguments, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)

        class Array(_Given):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(arguments)

        class Buffer(Array): ...

        class Number(Array): ...

        class Kind(Array): ...

        class Name: ...

        allowed: dict[tuple[str, str], Any] = {("numpy", "dtype"): Kind, ("numpy", "ndarray"): Name}
        for core in ("numpy.core", "numpy._core"):  # numpy 1 and 2
            allowed[(f"{core}.multiarray", "_reconstruct")] = Array
            allowed[(f"{core}.multiarray", "scalar")] = Number
            allowed[(f"{core}.numeric", "_frombuffer")] = Buffer
        allowed[("_codecs", "encode")] = lambda text, coding: text.encode(
            {"latin1": "latin1"}[coding]
        )  # bytes in protocol 2
        allowed[("__builtin__", "bytes")] = allowed[("builtins", "bytes")] = lambda: (
            b""
        )  # empty bytes in protocols 0 to 2
        allowed[("collections", "OrderedDict")] = lambda: dict()  # noqa: C408  # a fresh callable, not the class
        self.allowed = allowed

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self.allowed[(module, name)]


def _plain(value: Any, left: list[int], depth: int) -> Any:
    """The same with arrays in place of the stand-ins. left[0]: how many more values may come."""
    left[0] -= 1
    if left[0] < 0 or depth > 10:
        raise pickle.UnpicklingError("its containers hold too much, or themselves")
    if isinstance(value, dict):
        return {
            _plain(key, left, depth + 1): _plain(item, left, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item, left, depth + 1) for item in value)
    if isinstance(value, _Given):
        return _array(value)
    if value is None or type(value) in (bool, int, float, str, bytes, bytearray):
        return value
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__}")


def _array(given: _Given) -> NDArray[Any] | float:
    kind = type(given).__name__
    if (
        kind == "Array" and isinstance(given.state, tuple) and len(given.state) == 5
    ):  # ndarray.__setstate__
        _, shape, dtype, fortran, data = given.state
    elif kind == "Buffer" and len(given.arguments) == 4:  # numpy._core.numeric._frombuffer
        data, dtype, shape, order = given.arguments
        fortran = order == "F"
    elif kind == "Number" and len(given.arguments) == 2:
        return _values(*given.arguments, ()).item()
    else:
        raise pickle.UnpicklingError("it holds an array of an unknown form")
    if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
        raise pickle.UnpicklingError("it holds an array without a shape")
    values = _values(dtype, data, (math.prod(shape),))
    return values.reshape(shape, order="F" if fortran else "C")


def _values(dtype: Any, data: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    if (
        type(dtype).__name__ != "Kind"
        or not isinstance(dtype, _Given)
        or dtype.arguments[0] not in _NUMBERS
    ):
        raise pickle.UnpicklingError("it holds an array of something other than numbers")
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else "="
    if not isinstance(data, (bytes, bytearray)) or order not in ("<", ">", "=", "|"):
        raise pickle.UnpicklingError("it holds an array without its bytes")
    return (
        np.frombuffer(bytes(data), np.dtype(dtype.arguments[0]).newbyteorder(order))
        .reshape(shape)
        .copy()
    )
