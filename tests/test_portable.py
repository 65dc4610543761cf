"""What differs on Windows, as far as another system can show it.

`nox -s lint` also has pyright read the package as on Windows, where modules and functions of POSIX
are missing.
"""

from __future__ import annotations

import ast
import errno
import fcntl
import importlib.util
import ntpath
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import evalkit
from evalkit import files, locks
from evalkit.core import EvalkitError
from evalkit.files import is_device, plain_name, write_atomically
from evalkit.ratings.files import rater_id
from evalkit.run_folder.names import folder_name
from evalkit.specs import is_path, relative_to, seen_from, split_run

PACKAGE = Path(evalkit.__file__).parent


def _is_open(path: str | os.PathLike[str]) -> bool:
    """Whether this process has the file open; then Windows neither removes nor renames it."""
    links = Path("/proc/self/fd").iterdir()
    return os.path.realpath(path) in {os.path.realpath(link) for link in links}


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """evalkit.locks as Windows loads it, with locks of this system below those of msvcrt."""

    def locking(handle: int, mode: int, count: int) -> None:
        assert (mode, count, os.lseek(handle, 0, os.SEEK_CUR)) == (2, 1, 0)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # what msvcrt.locking raises for a lock that is taken
            raise PermissionError(errno.EACCES, "Permission denied") from None

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setattr(sys, "platform", "win32")
    spec = importlib.util.spec_from_file_location("locks_on_windows", locks.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    removed, unlink = [], Path.unlink

    def remove(path: Path, missing_ok: bool = False) -> None:
        assert not _is_open(path)
        removed.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", remove)
    module.removed = removed  # pyright: ignore[reportAttributeAccessIssue]
    return module


def test_a_lock_is_taken_refused_and_removed(windows: Any, tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    assert not windows.is_locked(path)
    with windows.alone(path, "Taken."):
        assert windows.is_locked(path)
        other = os.open(path, os.O_RDWR)
        assert not windows.lock(other, path)
        os.close(other)
    assert (windows.removed, os.listdir(tmp_path)) == ([".lock"], [])
    path.parent.mkdir()
    handle = os.open(path, os.O_RDWR | os.O_CREAT)  # as another process
    os.write(handle, b"x")
    assert windows.lock(handle, path)
    with pytest.raises(EvalkitError, match="Taken"), windows.alone(path, "Taken."):
        pass
    os.close(handle)
    with windows.alone(path, "Taken."):  # what a kill leaves
        pass


def test_a_folder_is_locked_by_a_file_in_it(windows: Any, tmp_path: Path) -> None:
    first, second = windows.open_folder(tmp_path), windows.open_folder(tmp_path)
    assert windows.lock(first, tmp_path)
    assert not windows.lock(second, tmp_path)
    os.close(first)
    assert windows.lock(second, tmp_path)
    os.close(second)
    assert os.listdir(tmp_path) == [".lock"]


def test_a_file_is_closed_before_it_is_renamed_and_a_reader_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waits: list[float] = []
    busy, replace = [True, True], os.replace

    def rename(source: str, target: Path) -> None:
        assert not _is_open(source)
        if busy and busy.pop():
            raise PermissionError(errno.EACCES, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(files.time, "sleep", waits.append)
    monkeypatch.setattr(os, "replace", rename)
    write_atomically(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "new"
    assert waits == [0.01, 0.1]
    busy += [True] * 4
    with pytest.raises(EvalkitError, match="Could not write"):
        write_atomically(tmp_path / "a.json", "newer")
    assert os.listdir(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "new"


@pytest.mark.parametrize("name", ["con", "nul", "aux", "com1", "lpt9"])
def test_no_folder_has_the_name_of_a_device(name: str) -> None:
    assert is_device(name)
    assert folder_name(name).startswith(f"{name}-")
    assert plain_name(f"{name.upper()}.json") == f"_{name.upper()}.json"
    assert folder_name(f"{name}x") == f"{name}x"
    assert rater_id(name.upper()).startswith(f"{name.upper()}-")


def test_labels_that_differ_in_case_only_have_folders_that_differ() -> None:
    folders = [folder_name(label) for label in ("model", "Model", "MODEL", "model.", "model ")]
    assert len({name.lower() for name in folders}) == 5
    assert not any(name.endswith((".", " ")) for name in folders)


def test_paths_of_drives(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("relpath", "splitdrive", "abspath", "realpath"):
        monkeypatch.setattr(os.path, name, getattr(ntpath, name))
    monkeypatch.setattr(os, "sep", "\\")
    assert seen_from(r"C:\work\reports", r"C:\work\models\a") == "../models/a"
    assert seen_from(r"C:\work\reports", r"D:\models\a") == "D:/models/a"
    assert relative_to(r"C:\work", r"D:\models\a") == "D:/models/a"
    assert relative_to(r"C:\work", r"C:\work\a") == "./a"
    assert is_path(r"C:\models\a")
    assert split_run(r"C:\runs\a") == (Path(r"C:\runs\a"), "")
    assert split_run(r"C:\runs\a:dalle") == (Path(r"C:\runs\a"), "dalle")


def test_the_text_of_programs_has_an_encoding() -> None:
    """Ruff (PLW1514) finds files; the output of a program is text in a known encoding, too."""
    found = [
        f"{path.name}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("fdopen", "Popen", "subprocess.run"))
        and (
            {"text", "universal_newlines"} & (given := {item.arg for item in node.keywords})
            or (ast.unparse(node.func).endswith("fdopen") and "b" not in ast.unparse(node.args[1]))
        )
        and "encoding" not in given
    ]
    assert not found
