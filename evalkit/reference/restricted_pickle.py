"""Read plain containers and numpy arrays from a pickle, without running it.

A pickle is a program. Here the few functions that it may call are replaced by classes that only
record their arguments. Arrays are then created from the recorded bytes, so that not even numpy's
reconstruction runs on untrusted input.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.core import EvalkitError
from evalkit.files import read_limited
from evalkit.hints import a_type

SIZE_LIMIT = 1 << 30  # bytes of the file
VALUE_LIMIT = 10_000  # values in all containers together
_MEMO = ("PUT", "BINPUT", "LONG_BINPUT")
HINT = "Expected a dict of numpy arrays. Other pickles are programs and are not run."
_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


def load(path: Path) -> Any:
    """The content of a pickle file; see `loads`."""
    try:
        data = read_limited(path, SIZE_LIMIT)
    except OSError as error:
        raise EvalkitError(
            f"The file {path} cannot be read: {error.strerror}.", HINT, code="reference-33"
        ) from error
    return loads(data, str(path))


def loads(data: bytes, place: str) -> Any:
    """The content of a pickle: dicts, lists, tuples, texts, numbers and numpy arrays of numbers.

    Raises EvalkitError for anything else, before it runs. `place` is for messages.
    """
    try:
        for operation, argument, _ in pickletools.genops(data):
            # The list of remembered values grows to the largest number at once.
            if operation.name in _MEMO and (argument or 0) > VALUE_LIMIT:
                raise pickle.UnpicklingError(f"it remembers a value as number {argument}")
        return _plain(_Unpickler(io.BytesIO(data)).load(), [VALUE_LIMIT], 0)
    except Exception as error:  # hostile and damaged pickles raise exceptions of any type
        raise EvalkitError(
            f"The pickle {place} is not read: {error}.", HINT, code="reference-34"
        ) from error


class _RecordedCall:
    """A call that was not made: the arguments, and the state that the pickle sets afterwards."""

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.arguments, self.state = arguments, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)

        # New classes for every file, since a pickle can change the classes that it is given.
        class Array(_RecordedCall):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(arguments)

        class Buffer(Array): ...

        class Number(Array): ...

        class DataType(Array): ...

        class ArrayType: ...

        allowed: dict[tuple[str, str], Any] = {
            ("numpy", "dtype"): DataType,
            ("numpy", "ndarray"): ArrayType,
        }
        for core in ("numpy.core", "numpy._core"):  # numpy 1 and 2
            allowed[(f"{core}.multiarray", "_reconstruct")] = Array
            allowed[(f"{core}.multiarray", "scalar")] = Number
            allowed[(f"{core}.numeric", "_frombuffer")] = Buffer
        # Protocols 0 to 2 write bytes as encoded texts, and no bytes as a call of `bytes`.
        allowed[("_codecs", "encode")] = lambda text, coding: text.encode(
            {"latin1": "latin1"}[coding]
        )
        allowed[("__builtin__", "bytes")] = allowed[("builtins", "bytes")] = lambda: b""
        allowed[("collections", "OrderedDict")] = lambda: dict()  # noqa: C408  # not the class
        self.allowed = allowed

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self.allowed[(module, name)]


def _plain(value: Any, left: list[int], depth: int) -> Any:
    """The value with arrays for recorded calls. left[0]: how many more values are allowed."""
    left[0] -= 1
    if left[0] < 0 or depth > 10:
        raise pickle.UnpicklingError("its containers are too large or contain themselves")
    if isinstance(value, dict):
        return {
            _plain(key, left, depth + 1): _plain(item, left, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item, left, depth + 1) for item in value)
    if isinstance(value, _RecordedCall):
        return _array(value)
    if value is None or type(value) in (bool, int, float, str, bytes, bytearray):
        return value
    raise pickle.UnpicklingError(f"it contains {a_type(value)}")


def _array(call: _RecordedCall) -> NDArray[Any] | float:
    function, state = type(call).__name__, call.state
    if function == "Array" and isinstance(state, tuple) and len(state) == 5:
        _, shape, dtype, fortran, data = state  # the argument of ndarray.__setstate__
    elif function == "Buffer" and len(call.arguments) == 4:
        data, dtype, shape, order = call.arguments  # of numpy._core.numeric._frombuffer
        fortran = order == "F"
    elif function == "Number" and len(call.arguments) == 2:
        return _values(*call.arguments, ()).item()
    else:
        raise pickle.UnpicklingError("it contains an array of an unknown form")
    if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
        raise pickle.UnpicklingError("it contains an array without a shape")
    values = _values(dtype, data, (math.prod(shape),))
    return values.reshape(shape, order="F" if fortran else "C")


def _values(dtype: Any, data: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    if (
        type(dtype).__name__ != "DataType"
        or not isinstance(dtype, _RecordedCall)
        or dtype.arguments[0] not in _NUMBERS
    ):
        raise pickle.UnpicklingError("it contains an array that is not of numbers")
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else "="
    if not isinstance(data, (bytes, bytearray)) or order not in ("<", ">", "=", "|"):
        raise pickle.UnpicklingError("it contains an array without its bytes")
    values = np.frombuffer(bytes(data), np.dtype(dtype.arguments[0]).newbyteorder(order))
    return values.reshape(shape).copy()
