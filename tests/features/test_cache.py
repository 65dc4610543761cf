"""Files of features: large arrays are mapped or beside memory, and parts are joined by key."""

import contextlib
import gc
import hashlib
import mmap
import os
import weakref
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.core import EvalkitError
from evalkit.features import cache, npz
from evalkit.features.cache import CachedFeatures


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def part(numbers: list[int], **widths: int) -> CachedFeatures:
    """Rows whose values follow from their numbers."""
    values = {
        name: np.array([[number + column / 8 for column in range(width)] for number in numbers])
        .astype(np.float32)
        .reshape(len(numbers), width)
        for name, width in (widths or {"pool": 3}).items()
    }
    rows = {key(number): row for row, number in enumerate(numbers)}
    return CachedFeatures(rows, values, [f"n{number}" for number in numbers], frozenset(values))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of 1 KiB are large, and no memory is available."""
    monkeypatch.setattr(npz, "LARGE", 1024)
    monkeypatch.setattr(npz, "BLOCK", 100)
    monkeypatch.setattr(npz, "available", lambda: 0)


def is_mapped(array: np.ndarray) -> bool:
    """Whether an array is that of a file."""
    owner = array
    while isinstance(owner, np.ndarray) and not isinstance(owner, np.memmap):
        owner = owner.base
    return isinstance(owner, np.memmap)


def test_a_large_array_of_a_file_is_mapped_and_checked(tmp_path: Path, small: None):
    made, path = part(list(range(200)), pool=7, logits=1), tmp_path / "a.npz"
    cache.write(path, "print", made)
    found = cache.read(path, "print", ["pool"])
    assert is_mapped(found.values["pool"])
    assert not is_mapped(found.values["logits"])
    assert found.values["pool"].ctypes.data % 64 == 0
    assert np.array_equal(found.values["pool"], made.values["pool"])
    assert (found.rows, found.notes) == (made.rows, made.notes)
    found.values["pool"][0] = -1  # of this process only
    assert np.array_equal(cache.read(path, "print", ["pool"]).values["pool"], made.values["pool"])
    with path.open("r+b") as file:  # one bit of the values
        file.seek(-2000, os.SEEK_END)
        byte = file.read(1)
        file.seek(-2000, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
    assert cache.read(path, "print", ["pool"]).rows == {}


def test_a_mapped_file_can_be_replaced(tmp_path: Path, small: None):
    path = tmp_path / "a.npz"
    cache.write(path, "print", part(list(range(200))))
    before = cache.read(path, "print", ["pool"])
    cache.write(path, "print", part(list(range(300, 600))))
    assert before.values["pool"][:, 0].tolist() == list(range(200))


def test_files_of_numpy_are_read_and_compressed_ones_are_not(tmp_path: Path):
    cache.write(tmp_path / "own.npz", "print", part([4, 5]))
    with np.load(tmp_path / "own.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(tmp_path / "numpy.npz", **arrays)
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    assert list(cache.read(tmp_path / "numpy.npz", "print", ["pool"]).rows) == [key(4), key(5)]
    assert cache.read(tmp_path / "small.npz", "print", ["pool"]).rows == {}


def test_an_array_that_claims_more_than_the_file_has_is_no_array(tmp_path: Path):
    path = tmp_path / "a.npz"
    cache.write(path, "print", part([1, 2]))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["keys.npy"] = members["keys.npy"].replace(b"(2, 32)", b"(9999999999, 32)")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert cache.read(path, "print", ["pool"]).rows == {}
    assert cache.keys(path, "print", ["pool"]) == []


NOT_AS_WRITTEN = {
    "another version": {"made_on": None},
    "no keys": {"keys": None},
    "half keys": {"keys": np.zeros((2, 16), np.uint8)},
    "equal keys": {"keys": np.zeros((2, 32), np.uint8)},
    "a row less": {"feature.pool": np.zeros((1, 3), np.float32)},
    "a row more": {"feature.pool": np.zeros((3, 3), np.float32)},
    "float64": {"feature.pool": np.zeros((2, 3))},
    "float16": {"feature.pool": np.zeros((2, 3), np.float16)},
    "one dimension": {"feature.pool": np.zeros(2, np.float32)},
    "three dimensions": {"feature.pool": np.zeros((2, 3, 1), np.float32)},
    "a note less": {"notes": np.array(["n1"])},
}


@pytest.mark.parametrize("other", NOT_AS_WRITTEN.values(), ids=NOT_AS_WRITTEN)
@pytest.mark.parametrize("large", [1, 2**30])
def test_a_sound_file_with_other_arrays_has_no_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, np.ndarray | None], large: int
):
    monkeypatch.setattr(npz, "LARGE", large)
    path = tmp_path / "a.npz"
    cache.write(path, "print", part([1, 2]))
    arrays = {name: one for name, one in (npz.read(path) | other).items() if one is not None}
    npz.write(path, arrays)
    assert cache.read(path, "print", ["pool"]).rows == {}
    assert cache.read_all([path], "print", ["pool"], [key(1), key(2)]).rows == {}


def numbered(first: int, out: np.ndarray) -> None:
    out[:] = np.arange(5 * first, 5 * first + out.size).reshape(out.shape)


@pytest.mark.parametrize("memory", [0, 2**40])
def test_new_large_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int):
    monkeypatch.setattr(npz, "LARGE", 1024)
    monkeypatch.setattr(npz, "available", lambda: memory)
    made = npz.filled((300, 5), tmp_path, numbered)
    assert made[1:3, 0].tolist() == [5, 10]
    assert made.sum() == 1499 * 750
    assert is_mapped(made) == (memory == 0)
    assert list(tmp_path.iterdir()) == []  # the file has no name


def test_without_space_a_new_array_is_in_memory(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
):
    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert not is_mapped(npz.filled((300, 5), tmp_path, numbered))


@pytest.mark.parametrize("memory", [0, 2**40])
def test_on_other_systems_a_new_array_is_in_memory(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, memory: int
):
    monkeypatch.setattr(npz, "available", lambda: memory)
    monkeypatch.delattr(mmap, "MAP_POPULATE")
    monkeypatch.delattr(os, "posix_fallocate")
    made = npz.filled((300, 5), tmp_path, numbered)
    assert (made.shape, made.dtype, is_mapped(made)) == ((300, 5), np.float32, False)


def test_where_the_system_refuses_memory_a_new_array_is_in_a_file(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
):
    taken = mmap.mmap

    def refused(file: int, *given: object, **more: object) -> object:
        if file == -1:
            raise OSError(12, "Cannot allocate memory")
        return taken(file, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(npz, "available", lambda: 2**40)
    monkeypatch.setattr(mmap, "mmap", refused)
    assert is_mapped(npz.filled((300, 5), tmp_path, numbered))


PARTS = st.lists(
    st.tuples(st.lists(st.integers(0, 12), unique=True), st.booleans()), min_size=1, max_size=4
)


@settings(max_examples=150, deadline=None)
@given(PARTS, st.permutations(range(13)), st.integers(0, 13))
def test_joined_takes_the_first_row_of_each_key(
    parts: list[tuple[list[int], bool]], order: list[int], count: int
):
    made = [part(numbers, pool=2, **({"logits": 1} if both else {})) for numbers, both in parts]
    for place, one in enumerate(made):  # equal keys of other parts have other notes
        one.notes[:] = [f"{note} of {place}" for note in one.notes]
    wanted = order[:count]
    found = cache.joined(iter(made), [key(number) for number in wanted], Path("nowhere"))
    first = {
        number: place
        for place, (numbers, _) in reversed(list(enumerate(parts)))
        for number in numbers
    }
    there = [number for number in wanted if number in first]
    assert list(found.rows) == [key(number) for number in there]
    assert list(found.rows.values()) == list(range(len(there)))
    assert found.notes == [f"n{number} of {first[number]}" for number in there]
    if there:
        assert found.values["pool"].tolist() == [[number, number + 0.125] for number in there]
        used = {first[number] for number in there}
        assert ("logits" in found.values) == all(parts[place][1] for place in used)


@pytest.mark.parametrize("widths", [(3, 5), (3, 1), (1, 3)])
def test_features_of_several_widths_are_not_joined(tmp_path: Path, widths: tuple[int, int]):
    paths = [tmp_path / f"{width}.npz" for width in widths]
    for number, path in enumerate(paths):
        cache.write(path, "print", part([number], pool=widths[number]))
    with pytest.raises(EvalkitError, match="returns other features"):
        cache.read_all(paths, "print", ["pool"])


def test_an_error_that_is_over_holds_no_arrays(tmp_path: Path):
    found = part([1, 2])
    watched = weakref.ref(found.values["pool"])
    with contextlib.suppress(EvalkitError):
        cache.select(found, [key(3)], tmp_path)
    del found
    gc.collect()
    assert watched() is None


def test_what_is_joined_beside_memory_is_the_same(tmp_path: Path, small: None):
    paths = [tmp_path / f"{place}.npz" for place in range(3)]
    for place, path in enumerate(paths):
        cache.write(path, "print", part(list(range(place, 300, 3))))
    order = [key(number) for number in range(299, -1, -1)]
    found = cache.read_all(paths, "print", ["pool"], order)
    assert is_mapped(found.values["pool"])
    assert found.values["pool"][:, 0].tolist() == list(range(299, -1, -1))
    some = cache.select(found, order[::2], tmp_path)
    assert is_mapped(some.values["pool"])
    assert some.values["pool"][:, 0].tolist() == list(range(299, 0, -2))
