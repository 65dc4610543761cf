"""The cache of features: an .npz without pickles that knows rows by content and is thrown away
where the encoder is another one.

`fingerprint` of the encoder, `asked` (the names of the features that it was made for), `keys`
(uint8 [N, 32], SHA-256 of the picture file, prompt or group), `notes` (what had to be done to read
a picture) and one float32 [N, D] array per feature.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.core import EvalkitError
from evalkit.files import write_atomically


class Cache(NamedTuple):
    rows: dict[str, int]  # SHA-256 in hexadecimal -> row
    values: dict[str, NDArray[np.float32]]
    notes: list[str]
    asked: frozenset[str] = (
        frozenset()
    )  # what was asked of the encoder; what it does not give is in here and not in `values`


EMPTY = Cache({}, {}, [])


def joined(parts: Sequence[Cache]) -> Cache:
    """All rows of parts that share no key. Parts with other features than the last one's are left
    out.
    """
    filled = [part for part in parts if part.rows]
    parts = [part for part in filled if part.values.keys() == filled[-1].values.keys()]
    if not parts:
        return EMPTY
    keys = [key for part in parts for key in part.rows]
    values = {
        name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values
    }
    return Cache(
        {key: row for row, key in enumerate(keys)},
        values,
        [note for part in parts for note in part.notes],
        parts[-1].asked,
    )


def chosen(cache: Cache, keys: list[str]) -> Cache:
    """The rows of these keys, in their order."""
    if any(key not in cache.rows for key in keys):
        raise EvalkitError(
            "The encoder gives other features than those in the cache.",
            "Delete the run's features folder, or change the fingerprint.",
        )
    rows = [cache.rows[key] for key in keys]
    values = {name: array[rows] for name, array in cache.values.items()}
    return Cache(
        {key: row for row, key in enumerate(keys)},
        values,
        [cache.notes[row] for row in rows],
        cache.asked,
    )


def read(path: Path, fingerprint: str, wanted: Collection[str]) -> Cache:
    """What the file holds. No rows where it is missing, damaged, of another encoder or made without
    a wanted feature: a cache may always be made anew. `asked` then still names what the file was
    made for, so that nothing known is given up.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if str(file["fingerprint"]) != fingerprint:
                return EMPTY._replace(asked=frozenset(wanted))
            asked = frozenset(str(name) for name in file["asked"])
            if not asked >= set(wanted):
                return EMPTY._replace(asked=asked | set(wanted))
            keys = [bytes(row).hex() for row in file["keys"]]
            values = {
                name.removeprefix("feature."): file[name]
                for name in file.files
                if name.startswith("feature.")
            }
            notes = [str(note) for note in file["notes"]]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return EMPTY._replace(asked=frozenset(wanted))
    if any(len(array) != len(keys) for array in (notes, *values.values())):
        return EMPTY._replace(asked=frozenset(wanted))
    return Cache({key: row for row, key in enumerate(keys)}, values, notes, asked)


def write(path: Path, fingerprint: str, cache: Cache) -> None:
    file = io.BytesIO()
    keys = np.array([list(bytes.fromhex(key)) for key in cache.rows], dtype=np.uint8).reshape(
        -1, 32
    )
    arrays: dict[str, Any] = {f"feature.{name}": array for name, array in cache.values.items()}
    facts = {
        "fingerprint": np.array(fingerprint),
        "asked": np.array(sorted(cache.asked), dtype=np.str_),
    }
    np.savez(file, **facts, keys=keys, notes=np.array(cache.notes, dtype=np.str_), **arrays)
    write_atomically(path, file.getvalue())
