"""Images from arrays: exact pixels, bounded memory, clear errors for other arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.core import EvalkitError
from evalkit.sources import open_source


@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(
        st.integers(1, 9), st.integers(1, 7), st.integers(1, 7), st.sampled_from([1, 3, 4])
    ),
    packed=st.booleans(),
    labels=st.booleans(),
)
def test_arrays_return_their_pixels(
    shape: tuple[int, ...], packed: bool, labels: bool, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("arrays")
    pixels = np.random.RandomState(0).randint(0, 256, shape, dtype=np.uint8)
    (np.savez_compressed if packed else np.savez)(
        folder / "a.npz", *([pixels, np.arange(shape[0])] if labels else [pixels])
    )
    np.save(folder / "a.npy", pixels)
    for file in ("a.npz", "a.npy"):
        source = open_source(folder / file)
        assert source.count == shape[0]
        assert all(
            np.array_equal(image.read(), pixels[number]) for number, image in enumerate(source)
        )
    assert [image.name for image in open_source(folder / "a.npz")][:1] == ["arr_0[0]"]


def test_an_array_is_never_loaded_as_a_whole(tmp_path: Path):
    import tracemalloc

    np.savez(tmp_path / "a.npz", np.zeros((600, 128, 128, 3), np.uint8))  # 29 MB
    source = open_source(tmp_path / "a.npz")
    tracemalloc.start()
    for image in source:
        image.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6


IMAGES = np.zeros((4, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (IMAGES.astype(np.float32), "floats of an unknown range"),
        (IMAGES.astype(np.int64), "is int64"),
        (IMAGES.astype(np.uint16), "is uint16"),
        (IMAGES.transpose(0, 3, 1, 2).copy(), "channels first"),
        (np.asfortranarray(IMAGES + np.arange(3, dtype=np.uint8)), "Fortran order"),
        (np.zeros((4, 8, 8, 5), np.uint8), "expected uint8"),
        (np.zeros((0, 8, 8, 3), np.uint8), "expected uint8"),
        (np.zeros(7, np.uint8), "expected uint8"),
    ],
)
def test_arrays_that_are_not_images_are_refused(tmp_path: Path, array: np.ndarray, message: str):
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", arr_0=array)
    for file in ("a.npy", "a.npz"):
        with pytest.raises(EvalkitError, match=message):
            open_source(tmp_path / file)


class Marker:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_pickles_in_arrays_are_refused_and_not_run(tmp_path: Path):
    evil = np.array([Marker(tmp_path / "ran")], dtype=object)
    np.save(tmp_path / "a.npy", evil, allow_pickle=True)
    np.savez(tmp_path / "a.npz", arr_0=evil)
    for file in ("a.npy", "a.npz"):
        with pytest.raises(EvalkitError, match="which is a pickle"):
            open_source(tmp_path / file)
    assert not (tmp_path / "ran").exists()


def test_a_truncated_array_is_refused(tmp_path: Path):
    pixels = np.random.RandomState(0).randint(0, 256, (10, 100, 100, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:100_000])
    with pytest.raises(EvalkitError, match=r"a\.npy states \[10, 100, 100, 3\].* holds 100,000"):
        open_source(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", pixels)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100_000])
    with pytest.raises(EvalkitError, match="cannot be read"):
        open_source(tmp_path / "a.npz")


def test_the_error_on_an_npz_without_images_lists_its_arrays(tmp_path: Path):
    np.savez(tmp_path / "a.npz", mu=np.zeros(3), sigma=np.eye(3))
    with pytest.raises(
        EvalkitError, match=r"contains mu \[3\], sigma \[3, 3\]; expected images in arr_0"
    ):
        open_source(tmp_path / "a.npz")


def test_one_image_is_not_many_gray_ones(tmp_path: Path):
    pixels = np.random.RandomState(0).randint(0, 256, (8, 6, 3), dtype=np.uint8)
    np.savez(tmp_path / "one.npz", pixels)
    np.save(tmp_path / "one.npy", pixels)
    for file in ("one.npz", "one.npy"):
        [image] = open_source(tmp_path / file)
        assert np.array_equal(image.read(), pixels)


@pytest.mark.parametrize("shape", [(10**12, 64, 64, 3), (1, 200000, 200000, 3)])
def test_a_header_that_states_more_than_the_file_holds(tmp_path: Path, shape: tuple) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (64 - (len(header) + 11) % 64) + b"\n"
    magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    (tmp_path / "a.npy").write_bytes(magic + header + bytes(1000))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "arr_0.npy")
    for name in ("a.npy", "a.npz"):
        with pytest.raises(EvalkitError, match=r"states .* bytes; it holds"):
            open_source(tmp_path / name)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 8, 8, 3), np.uint8))
    np.save(tmp_path / "b.npy", np.ones((3, 8, 8, 3), np.uint8))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "arr_0.npy")
        archive.write(tmp_path / "b.npy", "arr_0.npy")
    with pytest.raises(EvalkitError, match=r"a\.npz contains several files named 'arr_0\.npy'"):
        open_source(tmp_path / "a.npz")


def test_the_reason_of_a_damaged_header_is_one_of_evalkit(tmp_path: Path) -> None:
    """That of numpy names an address in memory, or advises to allow pickles."""
    for header in (b"print(1)", b"{" + b" " * 60_000):
        data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        (tmp_path / "a.npy").write_bytes(data)
        with pytest.raises(EvalkitError, match=r"cannot be read: its header is damaged\. Save"):
            open_source(tmp_path / "a.npy")
