"""The cache of features: an .npz file without pickles, with one row per content.

The file holds `fingerprint` of the encoder, `asked` (the names of the features that it was written
for), `keys` (uint8 [N, 32], the SHA-256 of each image file, prompt or group), `notes` (the changes
that decoding made to each image), `made_on` (the devices and number formats that encoded rows), one
float32 [N, D] array per feature, and `sha256` of all of these. A file that is not as it was written
has no rows: they are encoded again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.core import EvalkitError
from evalkit.files import atomic_file


class CachedFeatures(NamedTuple):
    rows: dict[str, int]  # SHA-256 in hexadecimal -> row
    values: dict[str, NDArray[np.float32]]  # by name of the feature, [N, D]
    notes: list[str]
    # The features that were requested; `values` lacks those that the encoder does not have.
    requested: frozenset[str] = frozenset()
    # "cpu float32" for each device and number format that encoded rows; "" where it is not known.
    made_on: frozenset[str] = frozenset()


EMPTY = CachedFeatures({}, {}, [])


def concatenate(parts: Sequence[CachedFeatures]) -> CachedFeatures:
    """All rows of parts that share no key, without parts that lack features of the last part."""
    filled = [part for part in parts if part.rows]
    parts = [part for part in filled if part.values.keys() == filled[-1].values.keys()]
    if len(parts) < 2:  # no copy of what may fill half of the memory
        return parts[0] if parts else EMPTY
    keys = [key for part in parts for key in part.rows]
    values = {
        name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values
    }
    notes = [note for part in parts for note in part.notes]
    made_on = frozenset[str]().union(*(part.made_on for part in parts))
    return CachedFeatures(_numbered(keys), values, notes, parts[-1].requested, made_on)


def merge(parts: Sequence[CachedFeatures]) -> CachedFeatures:
    """All rows of parts that were asked for the same features; of equal keys the first one."""
    names = [part.values.keys() for part in parts if part.rows]
    common = set(names[0]).intersection(*names) if names else ()
    known: dict[str, int] = {}
    fresh: list[CachedFeatures] = []
    for part in parts:
        keys = [key for key in part.rows if key not in known]
        if len(keys) < len(part.rows):
            part = select(part, keys)
        known |= part.rows
        values = {name: array for name, array in part.values.items() if name in common}
        fresh.append(part._replace(values=values))
    return concatenate(fresh)


def select(cached: CachedFeatures, keys: Sequence[str]) -> CachedFeatures:
    """The rows of these keys, in their order; the same arrays if these are all."""
    if cached.rows == _numbered(keys):
        return cached
    if any(key not in cached.rows for key in keys):
        raise EvalkitError(
            "The encoder returns other features than those in the cache.",
            "Delete the run's features folder, or change the fingerprint.",
        )
    rows = [cached.rows[key] for key in keys]
    values = {name: array[rows] for name, array in cached.values.items()}
    notes = [cached.notes[row] for row in rows]
    return CachedFeatures(_numbered(keys), values, notes, cached.requested, cached.made_on)


def read(path: Path, fingerprint: str, wanted: Collection[str]) -> CachedFeatures:
    """The content of a file.

    There are no rows if the file is missing or damaged, belongs to another encoder, or lacks a
    wanted feature. In the last case `requested` has the file's features too, so that the new file
    loses none.
    """
    nothing = EMPTY._replace(requested=frozenset(wanted))
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if str(arrays.pop("sha256")) != _sha256(arrays):
            return nothing
    except Exception:  # what zip and npy readers raise for damaged files is not documented
        return nothing
    if str(arrays["fingerprint"]) != fingerprint:
        return nothing
    requested = frozenset(str(name) for name in arrays["asked"])
    if not requested >= set(wanted):
        return nothing._replace(requested=requested | set(wanted))
    values = {
        name.removeprefix("feature."): array
        for name, array in arrays.items()
        if name.startswith("feature.")
    }
    return CachedFeatures(
        _numbered([bytes(row).hex() for row in arrays["keys"]]),
        values,
        [str(note) for note in arrays["notes"]],
        requested,
        frozenset(str(text) for text in arrays["made_on"]),
    )


def read_all(
    paths: Sequence[Path],
    fingerprint: str,
    wanted: Collection[str],
    order: Sequence[str] | None = None,
) -> CachedFeatures:
    """The rows of several files, see `merge`. One file is in memory at a time beside the result.

    order: the keys that are taken, in the order of the result; None: all keys.
    """
    there = dict.fromkeys(key for path in paths for key in keys(path, fingerprint, wanted))
    rows = _numbered([key for key in dict.fromkeys(there if order is None else order)
                      if key in there])  # fmt: skip
    values: dict[str, NDArray[np.float32]] | None = None
    notes, left, made_on = [""] * len(rows), set(rows), frozenset[str]()
    for path in paths:
        part = read(path, fingerprint, wanted)
        fresh = [key for key in part.rows if key in left]
        if not fresh:
            continue
        left.difference_update(fresh)
        taken, places = [part.rows[key] for key in fresh], [rows[key] for key in fresh]
        if values is None:
            shapes = {name: (len(rows), *array.shape[1:]) for name, array in part.values.items()}
            values = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
        values = {name: array for name, array in values.items() if name in part.values}
        all_of_it = taken == list(range(len(part.rows)))  # no copy of what may be large
        for name, array in values.items():
            array[places] = part.values[name] if all_of_it else part.values[name][taken]
        for row, place in zip(taken, places, strict=True):
            notes[place] = part.notes[row]
        made_on |= part.made_on
    found = CachedFeatures(rows, values or {}, notes, frozenset(wanted), made_on)
    return select(found, [key for key in rows if key not in left])  # without those of damaged files


def keys(path: Path, fingerprint: str, wanted: Collection[str]) -> list[str]:
    """The keys of the rows that `read` would find, without their features.

    What is damaged is found when the rows are read, and then encoded again.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            asked = {str(name) for name in file["asked"]}
            if str(file["fingerprint"]) == fingerprint and asked >= set(wanted):
                return [bytes(row).hex() for row in file["keys"]]
    except Exception:  # see read()
        pass
    return []


def write(path: Path, fingerprint: str, cached: CachedFeatures) -> None:
    keys = np.array([list(bytes.fromhex(key)) for key in cached.rows], dtype=np.uint8)
    arrays: dict[str, Any] = {
        "fingerprint": np.array(fingerprint),
        "asked": np.array(sorted(cached.requested), dtype=np.str_),
        "keys": keys.reshape(-1, 32),
        "notes": np.array(cached.notes, dtype=np.str_),
        "made_on": np.array(sorted(cached.made_on), dtype=np.str_),
    }
    arrays |= {f"feature.{name}": array for name, array in cached.values.items()}
    arrays["sha256"] = np.array(_sha256(arrays))
    with atomic_file(path) as file:
        np.savez(file, **arrays)


def _numbered(keys: Sequence[str]) -> dict[str, int]:
    return {key: row for row, key in enumerate(keys)}


def _sha256(arrays: Mapping[str, NDArray[Any]]) -> str:
    """A hash of the names, types, shapes and values of arrays."""
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype.str} {array.shape}\0".encode())
        found.update(np.ascontiguousarray(array).data)  # without a copy, unlike `tobytes`
    return found.hexdigest()
