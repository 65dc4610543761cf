"""TorchScript archives, read without running code in them."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from evalkit.encoders import torchscript


def test_tensors_equal_those_of_pytorch(archive: Path):
    found = torchscript.read_tensors(archive)
    assert found["visual.conv1.weight"].dtype == torch.float16
    assert found["ln_final.weight"].dtype == torch.float32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.jit.load(str(archive)).state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_other_files_are_not_archives(archive: Path, tmp_path: Path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "saved.pt")
    (tmp_path / "text.pt").write_text("no weights")
    assert torchscript.is_torchscript(archive)
    assert not torchscript.is_torchscript(tmp_path / "saved.pt")
    assert not torchscript.is_torchscript(tmp_path / "text.pt")


class Touch:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (Path.touch, (self.path,))


def test_code_in_an_archive_is_not_run(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "code.pt", "w") as file:
        file.writestr("code/data.pkl", pickle.dumps(Touch(tmp_path / "touched")))
        file.writestr("code/constants.pkl", b"")
    with pytest.raises(pickle.UnpicklingError, match="is not allowed"):
        torchscript.read_tensors(tmp_path / "code.pt")
    assert not (tmp_path / "touched").exists()
