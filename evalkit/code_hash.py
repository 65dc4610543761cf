"""What a Python function as a model depends on, as far as it can be seen."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from collections.abc import Mapping
from typing import Any


def code_hash(function: Any) -> str:
    """The hash of a function's source and of the values that it holds, or of an object's class.

    Values are texts, numbers and tuples of them; the rest of a program is not seen. "" for a
    function with a fingerprint.
    """
    if getattr(function, "fingerprint", ""):
        return ""  # it says itself what its images depend on
    parts = [_source(function), *map(_value, _held(function))]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()


def _source(function: Any) -> str:
    inner = getattr(function, "func", getattr(function, "__func__", function))  # partial, method
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    try:
        return inspect.getsource(named)
    except (OSError, TypeError):  # typed into an interpreter
        code = getattr(inner, "__code__", None) or getattr(type(inner).__call__, "__code__", None)
        return f"{code.co_code.hex()} {code.co_names} {_value(code.co_consts)}" if code else ""


def _held(function: Any) -> list[object]:
    """Closure, defaults, arguments of a partial, and attributes of an object."""
    inner = getattr(function, "func", getattr(function, "__func__", function))
    closure = getattr(inner, "__closure__", None) or ()
    cells: list[object] = []
    for cell in closure:
        with contextlib.suppress(ValueError):  # an empty cell
            cells.append(cell.cell_contents)
    owner = getattr(function, "__self__", None if inspect.isfunction(inner) else inner)
    return [
        *cells,
        getattr(inner, "__defaults__", None),
        *_items(getattr(inner, "__kwdefaults__", None)),
        getattr(function, "args", None),
        *_items(getattr(function, "keywords", None)),
        *_items(None if inspect.isclass(owner) else getattr(owner, "__dict__", None)),
    ]


def _items(values: object) -> list[object]:
    return list(values.items()) if isinstance(values, Mapping) else []


def _value(value: object) -> str:
    """A constant as text; of anything that may change, its type."""
    if value is None or isinstance(value, str | bytes | int | float | complex):
        return repr(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_value, value))})"
    return type(value).__qualname__  # a list may only count calls
