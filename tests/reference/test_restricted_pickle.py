"""Pickles: arrays are read exactly, and no code in a pickle ever runs."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from statistics_files import MU, SIGMA

from evalkit.core import EvalkitError
from evalkit.reference import foreign, restricted_pickle


class Runs:
    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.what = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.what


def evil(marker: Path) -> dict[str, Any]:
    reconstruct = np.ones(2).__reduce__()[0]
    dtype = np.dtype("O")
    return {
        "touch": Runs(Path.touch, marker),
        "os.system": Runs(__import__("os").system, f"touch {marker}"),
        "eval": Runs(eval, f"open({str(marker)!r}, 'w')"),
        "in an array": np.array([Runs(Path.touch, marker)], dtype=object),
        "in the state of an array": Runs(
            reconstruct,
            np.ndarray,
            (0,),
            b"b",
            state=(1, (1,), dtype, False, [Runs(Path.touch, marker)]),
        ),
        "a subclass": Runs(reconstruct, np.memmap, (0,), b"b"),
        "numpy.load": Runs(np.load, str(marker)),
        "numpy.fromfile": Runs(np.fromfile, str(marker)),
        "getattr": Runs(getattr, dict, "fromkeys"),
        "a tensor": torch.zeros(2),
    }


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("case", list(evil(Path("x"))))
def test_pickles_with_code_are_refused_and_not_run(case: str, protocol: int, tmp_path: Path):
    marker = tmp_path / "ran"
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"fid": evil(marker)[case]}, protocol=protocol))
    with pytest.raises(EvalkitError, match="is not read"):
        restricted_pickle.load(tmp_path / "a.pkl")
    torch.save({"mu": evil(marker)[case], "sigma": SIGMA}, tmp_path / "a.pt")
    with pytest.raises(EvalkitError):
        foreign.read(tmp_path / "a.pt")
    assert not marker.exists()


def test_crafted_dtypes_and_states_are_refused(tmp_path: Path):
    """Raw bytes as objects, sizes that do not fit, and recorded calls in the wrong place."""
    reconstruct = np.ones(2).__reduce__()[0]

    def array(dtype: Any, shape: Any, data: Any) -> Runs:
        return Runs(reconstruct, np.ndarray, (0,), b"b", state=(1, shape, dtype, False, data))

    as_objects = Runs(
        np.dtype,
        "V8",
        False,
        True,
        state=(3, "|", None, ("f",), {"f": (np.dtype("O"), 0)}, 8, 1, 0),
    )
    bad = [
        array(as_objects, (1,), b"\x41" * 8),
        array(np.dtype("O"), (1,), b"\x41" * 8),
        array(np.dtype("f8"), (1 << 40,), b"\x41" * 8),
        array(np.dtype("f8"), (-1,), b"\x41" * 8),
        array(np.dtype("f8"), (2,), b"\x41" * 8),
        array("f8", (1,), b"\x41" * 8),
        array(np.dtype("f8"), (1,), "text"),
        Runs(reconstruct, np.ndarray, (0,), b"b"),
        Runs(np.dtype, "f8"),
    ]
    for value in bad:
        (tmp_path / "a.pkl").write_bytes(pickle.dumps({"fid": {"mu": value, "sigma": SIGMA}}))
        with pytest.raises(EvalkitError, match="is not read"):
            restricted_pickle.load(tmp_path / "a.pkl")


def test_pickles_with_too_many_values_are_refused(tmp_path: Path):
    laughs: list[Any] = ["ha"]
    for _ in range(40):
        laughs = [laughs, laughs]
    ring: list[Any] = []
    ring.append(ring)
    for value in (laughs, ring):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(value))
        with pytest.raises(EvalkitError, match="too large or contain themselves"):
            restricted_pickle.load(tmp_path / "a.pkl")


@settings(deadline=None, max_examples=40)
@given(
    shape=st.lists(st.integers(0, 4), max_size=3).map(tuple),
    kind=st.sampled_from(["<f8", ">f4", "f2", "i8", "u1", "?"]),
    protocol=st.integers(0, 5),
    fortran=st.booleans(),
)
def test_arrays_in_pickles_are_read_exactly(
    shape: tuple[int, ...],
    kind: str,
    protocol: int,
    fortran: bool,
    tmp_path_factory: pytest.TempPathFactory,
):
    values = (
        (np.random.RandomState(0).rand(*shape) * 9).astype(kind)
        if shape
        else np.array(3).astype(kind)
    )
    array = np.asfortranarray(values) if fortran else values
    held = {"a": array, "n": np.float64(2.5), "m": np.int64(7), "l": [1, (2.5, "x"), None, True]}
    place = tmp_path_factory.mktemp("pickle") / "a.pkl"
    place.write_bytes(pickle.dumps(held, protocol=protocol))
    found = restricted_pickle.load(place)
    assert np.array_equal(found["a"], array)
    assert found["a"].dtype == array.dtype
    assert (found["n"], found["m"], found["l"]) == (2.5, 7, held["l"])


def test_pickles_of_numpy_1_and_2_are_read(tmp_path: Path):
    data = pickle.dumps({"num_images": 40, "fid": {"mu": MU, "sigma": SIGMA}}, protocol=2)
    data = data.replace(b"numpy.core.multiarray", b"numpy._core.multiarray")  # written by NumPy 1
    assert b"numpy._core.multiarray" in data
    for number, text in enumerate(
        (data, data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    ):
        (tmp_path / f"{number}.pkl").write_bytes(text)
        assert np.array_equal(
            restricted_pickle.load(tmp_path / f"{number}.pkl")["fid"]["sigma"], SIGMA
        )
