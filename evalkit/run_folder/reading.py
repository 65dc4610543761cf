"""How files of a run are read: whatever is wrong with one becomes a sentence that names it."""

from __future__ import annotations

import contextlib
import csv
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from evalkit.core import EvalkitError

Row = TypeVar("Row")


def typed(kind: Callable[..., Row], row: Mapping[str, Any]) -> Row:
    """The dataclass of a row. Raises TypeError for a field of another type than it states."""
    made = kind(**row)
    for name, (literals, types) in _fields(kind).items():
        value = getattr(made, name)
        if literals:
            good = value in literals
        elif isinstance(value, bool):
            good = bool in types
        else:
            good = isinstance(value, types)
        if not good or (isinstance(value, float) and not math.isfinite(value)):
            raise TypeError(f"{name} is {value!r}")
    return made


@functools.cache
def _fields(kind: Any) -> dict[str, tuple[tuple[Any, ...], tuple[type, ...]]]:
    """By field: the literals it may have, or the types; a whole number counts as a float."""
    found: dict[str, tuple[tuple[Any, ...], tuple[type, ...]]] = {}
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is Literal:
            found[name] = (get_args(hint), ())
        else:
            types = get_args(hint) or (hint,)
            found[name] = ((), (*types, int) if float in types else types)
    return found


def check_model(note: Mapping[str, Any]) -> None:
    """Raise TypeError unless the fields of model.json have their types."""
    texts = (note["label"], note["spec"], note.get("fingerprint", ""))
    if not all(isinstance(text, str) for text in texts) or not isinstance(note["order"], int):
        raise TypeError(note)
    if not all(isinstance(note.get(name) or {}, dict) for name in ("settings", "options")):
        raise TypeError(note)


# Parts of protocol.json: tables, and tables of tables.
_TABLES = (
    "options",
    "intervals",
    "prompts",
    "vocabulary",
    "versions",
    "groups",
    "sources",
    "questions",
)
_NESTED = ("encoders", "references", "measures", "counts", "encoded_on")
_TEXTS = ("name", "fingerprint", "image_hash", "title", "meaning", "paper", "aspect")


def check_protocol(found: Mapping[str, Any]) -> None:
    """Raise TypeError unless the parts of protocol.json that are read have their types."""
    if not isinstance(found, dict):
        raise TypeError(f"{found!r:.80} is no table")
    parts = [found.get(name, {}) for name in (*_TABLES, *_NESTED)]
    entries = [entry for name in _NESTED for entry in dict(found.get(name, {})).values()]
    for table in (*parts, *entries):
        if not isinstance(table, dict):
            raise TypeError(f"{table!r:.80} is no table")
    texts = [entry[name] for entry in entries for name in _TEXTS if entry.get(name) is not None]
    blind = found.get("blind_encoders", [])
    if not isinstance(blind, list) or not all(isinstance(text, str) for text in (*texts, *blind)):
        raise TypeError("a name is no text")
    for entry in found.get("measures", {}).values():
        ends = entry.get("range", [None, None])
        if len(ends) != 2 or not all(isinstance(end, int | float | None) for end in ends):
            raise TypeError(f"the range is {ends!r:.80}")


@contextlib.contextmanager
def reading(
    path: Path, hint: str = "Restore the file, or start again in another folder."
) -> Iterator[None]:
    """Whatever is wrong with the content of a file becomes one sentence that names it."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OSError("a device, a pipe or a socket may never end or never begin")
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
            RecursionError, csv.Error) as error:  # fmt: skip
        raise damaged(path, hint) from error


def damaged(path: Path, hint: str) -> EvalkitError:
    """The error on a file whose content is not what evalkit writes."""
    return EvalkitError(
        f"{path} is damaged, or was written by another version of evalkit.",
        hint,
        code="run_folder-11",
    )
