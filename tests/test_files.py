"""Files that appear whole or not at all, and what a killed process leaves."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit import files
from evalkit.core import EvalkitError
from evalkit.files import atomic_file, write_atomically

WRITE = """
import sys, time
from pathlib import Path
from evalkit.files import atomic_file
with atomic_file(Path("whole.txt")) as file:
    file.write(b"half")
    print("written", flush=True)
    time.sleep(60)
"""
AGAIN = """
from pathlib import Path
from evalkit.files import write_atomically
write_atomically(Path("other.txt"), "x")
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.skipif(sys.platform == "win32", reason="no locks of files")
def test_a_temporary_file_goes_when_its_process_is_dead(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written\n"
    [temporary] = names(tmp_path)
    again = [sys.executable, "-c", AGAIN]
    subprocess.run(again, cwd=tmp_path, check=True)
    assert names(tmp_path) == {temporary, "other.txt"}  # its process lives
    writer.kill()
    writer.communicate()
    subprocess.run(again, cwd=tmp_path, check=True)
    assert names(tmp_path) == {"other.txt"}


def test_nothing_else_is_removed(tmp_path: Path) -> None:
    """Other machines may not share their locks; hidden files belong to others."""
    kept = {".evalkit-00000000-abcdefgh", ".whole.txt.abcdefgh", ".hidden"}
    for name in kept:
        (tmp_path / name).write_text("x")
    write_atomically(tmp_path / "whole.txt", "whole")
    assert names(tmp_path) == {*kept, "whole.txt"}


def test_a_file_of_a_failed_block_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 240)
    write_atomically(path, "before")
    with pytest.raises(TypeError), atomic_file(path) as file:
        file.write("half")  # pyright: ignore
    assert names(tmp_path) == {path.name}
    assert path.read_text() == "before"
    assert os.stat(path).st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "Free some space, or "),
        (errno.EACCES, "Make the folder writable"),
        (errno.EROFS, "Make the folder writable"),
        (errno.ENOTDIR, "Use another folder"),
    ],
)
def test_the_hint_on_a_failed_write_is_about_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    (tmp_path / "rows").touch()
    for write in (
        lambda: files.write_atomically(tmp_path / "file", b"x"),
        lambda: files.append_lines(tmp_path / "rows", [{"a": 1}]),
    ):
        with pytest.raises(EvalkitError, match="Could not write") as found:
            write()
        assert (found.value.hint or "").startswith(hint.split()[0])
