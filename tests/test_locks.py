"""Locks on what a process writes."""

import errno
import fcntl
import os
from pathlib import Path

import pytest
from lock_holder import held

from evalkit.core import EvalkitError
from evalkit.locks import alone


def test_a_lock_ends_with_its_block_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / ".lock"
    with alone(path, "Taken."), alone(path, "Taken."):  # once more in the same thread
        assert path.is_file()
    assert os.listdir(tmp_path) == []
    with alone(path, "Taken."):
        (path.parent / "kept").touch()
    assert os.listdir(path.parent) == ["kept"]


def test_a_lock_of_another_process_is_refused_and_a_leftover_is_not(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with held(path), pytest.raises(EvalkitError, match="Taken"), alone(path, "Taken."):
        pass
    path.touch()  # as a kill leaves it
    with alone(path, "Taken."):
        pass
    assert not path.exists()


def test_a_file_system_without_locks_is_mentioned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    caplog.set_level("WARNING", "evalkit")
    monkeypatch.setattr(fcntl, "flock", refuse)
    done = False
    with alone(tmp_path / ".lock"):
        done = True
    assert done
    assert f"{tmp_path / '.lock'} cannot be locked (No locks available)" in caplog.text


def test_a_folder_that_cannot_be_made_is_not_locked(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = False
    with alone(tmp_path / "file" / ".lock"):
        done = True
    assert done
