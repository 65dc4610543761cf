"""The cache of features: an .npz file without pickles, with one row per content.

The file holds `fingerprint` of the encoder, `asked` (the names of the features that it was written
for), `keys` (uint8 [N, 32], the SHA-256 of each image file, prompt or group), `notes` (the changes
that decoding made to each image), `made_on` (the devices and number formats that encoded rows), one
float32 [N, D] array per feature, and `sha256` of all of these. A file that is not as it was written
has no rows: they are encoded again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.core import EvalkitError
from evalkit.features import npz
from evalkit.features.map_ahead import one_ahead


class CachedFeatures(NamedTuple):
    rows: dict[str, int]  # SHA-256 in hexadecimal -> row
    values: dict[str, NDArray[np.float32]]  # by name of the feature, [N, D]
    notes: list[str]
    # The features that were requested; `values` lacks those that the encoder does not have.
    requested: frozenset[str] = frozenset()
    # "cpu float32" for each device and number format that encoded rows; "" where it is not known.
    made_on: frozenset[str] = frozenset()


EMPTY = CachedFeatures({}, {}, [])
_MAPPED = 2**18  # bytes of an array of one of many files, together large


def other_features() -> EvalkitError:
    """A new error each time: one that is raised holds the arrays of where it came from."""
    return EvalkitError(
        "The encoder returns other features than those in the cache.",
        "Delete the run's features folder, or change the encoder's fingerprint.",
        code="features-3",
    )


def joined(parts: Iterable[CachedFeatures], order: Collection[str], folder: Path) -> CachedFeatures:
    """The rows of these keys in their order, as far as the parts have them.

    Of equal keys the first one is taken, and the features that all parts with rows have.

    Args:
        parts: from a generator, one is in memory at a time beside the result.
        order: the keys, each once.
        folder: where a large result is kept, see `npz.filled`.

    Raises EvalkitError where features of one name have several widths.
    """
    rows = _numbered(order)
    results: dict[str, _Result] | None = None
    notes, left = [""] * len(rows), set(rows)
    made_on = requested = frozenset[str]()
    for part in parts:
        if part.rows == rows and len(left) == len(rows):
            return part  # no copy of what may be large
        fresh = [key for key in part.rows if key in left]
        requested |= part.requested
        if not fresh:
            continue
        left.difference_update(fresh)
        taken = np.array([part.rows[key] for key in fresh])
        places = np.array([rows[key] for key in fresh])
        if results is None:
            widths = {name: array.shape[1:] for name, array in part.values.items()}
            results = {name: _Result((len(rows), *more)) for name, more in widths.items()}
        results = {name: result for name, result in results.items() if name in part.values}
        for name, result in results.items():
            result.add(places, part.values[name], taken)
        for row, place in zip(taken.tolist(), places.tolist(), strict=True):
            notes[place] = part.notes[row]
        made_on |= part.made_on
    values = {name: result.array(folder) for name, result in (results or {}).items()}
    found = CachedFeatures(rows, values, notes, requested, made_on)
    return select(found, [key for key in rows if key not in left], folder) if left else found


class _Result:
    """The rows of one feature. What does not fit in memory is copied at the end, in its order."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._held = npz.in_memory(shape)
        self._copies: list[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]] = []

    def add(
        self, places: NDArray[np.int64], part: NDArray[np.float32], taken: NDArray[np.int64]
    ) -> None:
        """Take rows of a part to these places."""
        if part.shape[1:] != self.shape[1:]:
            raise other_features()
        if self._held is None:
            self._copies.append((places, part, taken))
        else:
            self._held[_slice(places)] = part[_slice(taken)]

    def array(self, folder: Path) -> NDArray[np.float32]:
        return npz.filled(self.shape, folder, self._fill) if self._held is None else self._held

    def _fill(self, first: int, out: NDArray[np.float32]) -> None:
        for places, part, taken in self._copies:
            here = (places >= first) & (places < first + len(out))
            if here.any():
                out[_slice(places[here] - first)] = part[_slice(taken[here])]


def _slice(places: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Places at equal distances as a slice, which numpy copies faster and reads without a copy."""
    first, end = int(places[0]), int(places[-1]) + 1
    step = int(places[1]) - first if len(places) > 1 else 1
    if step > 0 and np.array_equal(places, np.arange(first, end, step)):
        return slice(first, end, step)
    return places


def select(cached: CachedFeatures, keys: Sequence[str], folder: Path) -> CachedFeatures:
    """The rows of these keys, in their order; the same arrays if these are all.

    Raises EvalkitError if a row is missing.
    """
    if cached.rows == _numbered(keys):
        return cached
    if any(key not in cached.rows for key in keys):
        raise other_features()
    rows = np.array([cached.rows[key] for key in keys])

    def selected(array: NDArray[np.float32]) -> NDArray[np.float32]:
        def fill(first: int, out: NDArray[np.float32]) -> None:
            chosen = rows[first : first + len(out)]
            np.take(array, chosen, axis=0, out=out, mode="clip")  # other modes copy

        return npz.filled((len(rows), *array.shape[1:]), folder, fill)

    values = {name: selected(array) for name, array in cached.values.items()}
    notes = [cached.notes[row] for row in rows.tolist()]
    return CachedFeatures(_numbered(keys), values, notes, cached.requested, cached.made_on)


def read(
    path: Path, fingerprint: str, wanted: Collection[str], large: int | None = None
) -> CachedFeatures:
    """The content of a file.

    large: bytes from which on an array is mapped and not read; None: those of `npz`.

    There are no rows if the file is missing or damaged, belongs to another encoder, or lacks a
    wanted feature. In the last case `requested` has the file's features too, so that the new file
    loses none.
    """
    nothing = EMPTY._replace(requested=frozenset(wanted))
    try:
        arrays = npz.read(path, large=large)
        if str(arrays["fingerprint"]) != fingerprint:
            return nothing
        requested = frozenset(str(name) for name in arrays["asked"])
        if not requested >= set(wanted):
            return nothing._replace(requested=requested | set(wanted))
        return _of_arrays(arrays, requested)
    except Exception:  # what readers of damaged files raise is not documented
        return nothing


def _of_arrays(arrays: Mapping[str, NDArray[Any]], requested: frozenset[str]) -> CachedFeatures:
    """Raises LookupError or ValueError for a file of another program, or of another version."""
    values = {
        name.removeprefix("feature."): array
        for name, array in arrays.items()
        if name.startswith("feature.")
    }
    rows, notes = _numbered(_texts(arrays["keys"])), [str(note) for note in arrays["notes"]]
    as_written = {(array.dtype, array.ndim, len(array)) for array in values.values()}
    if not as_written <= {(np.dtype(np.float32), 2, len(rows))} or len(notes) != len(rows):
        raise ValueError("each key has one row of float32 numbers and one note")
    made_on = frozenset(str(text) for text in arrays["made_on"])
    return CachedFeatures(rows, values, notes, requested, made_on)


def read_all(
    paths: Sequence[Path],
    fingerprint: str,
    wanted: Collection[str],
    order: Collection[str] | None = None,
) -> CachedFeatures:
    """The rows of several files, see `joined`; order: the keys that are taken, None: all."""
    known = dict.fromkeys(key for path in paths for key in keys(path, fingerprint, wanted))
    if order is not None:
        known = [key for key in dict.fromkeys(order) if key in known]
    if not known:
        return EMPTY._replace(requested=frozenset(wanted))
    # What is mapped need not be copied at once, see _Result.
    large = _MAPPED if sum(map(_size, paths)) >= npz.LARGE else None
    parts = (read(path, fingerprint, wanted, large) for path in paths)
    with contextlib.closing(one_ahead(parts)) as ahead:
        return joined(ahead, known, paths[0].parent)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def keys(path: Path, fingerprint: str, wanted: Collection[str]) -> list[str]:
    """The keys of the rows that `read` would find, without their features.

    What is damaged is found when the rows are read, and then encoded again.
    """
    try:
        found = npz.read(path, ("asked", "fingerprint", "keys"))
        asked = {str(name) for name in found["asked"]}
        if str(found["fingerprint"]) == fingerprint and asked >= set(wanted):
            return _texts(found["keys"])
    except Exception:  # see read()
        pass
    return []


def write(path: Path, fingerprint: str, cached: CachedFeatures) -> None:
    keys = np.frombuffer(bytes.fromhex("".join(cached.rows)), np.uint8)
    arrays: dict[str, NDArray[Any]] = {
        "fingerprint": np.array(fingerprint),
        "asked": np.array(sorted(cached.requested), dtype=np.str_),
        "keys": keys.reshape(-1, 32),
        "notes": np.array(cached.notes, dtype=np.str_),
        "made_on": np.array(sorted(cached.made_on), dtype=np.str_),
    }
    npz.write(path, arrays | {f"feature.{name}": one for name, one in cached.values.items()})


def _texts(keys: NDArray[Any]) -> list[str]:
    """SHA-256 values uint8 [N, 32] in hexadecimal."""
    text = keys.tobytes().hex()
    return [text[start : start + 64] for start in range(0, len(text), 64)]


def _numbered(keys: Iterable[str]) -> dict[str, int]:
    return {key: row for row, key in enumerate(keys)}
