"""open_source: folders and archives agree on names and order; patterns; clear errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from packing import contents, pack_tar, pack_zip

from evalkit.core import EvalkitError
from evalkit.sources import open_source

NAMES = ["10.png", "2.png", "a/10.png", "a/9.png", "b.jpg"]


SORTED = ["2.png", "10.png", "a/9.png", "a/10.png", "b.jpg"]


FILES = {name: name.encode() * 5 for name in NAMES}


def test_a_folder_and_its_zip_have_the_same_order(tmp_path: Path):
    for name, data in FILES.items():
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_bytes(data)
    for name in (".hidden.png", "notes.txt", ".cache/1.png"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_bytes(b"x")
    folder = open_source(tmp_path / "f")
    assert [name for name, _ in contents(folder)] == SORTED
    more = {"__MACOSX/._2.png": b"", "notes.txt": b"", "a/.x.png": b""}
    archive = open_source(pack_zip(tmp_path / "f.zip", FILES | more))
    assert contents(archive) == contents(folder) == contents(folder)
    assert folder.count == archive.count == len(NAMES)


def test_shards_by_pattern_and_by_folder(tmp_path: Path):
    for number in range(12):
        pack_tar(
            tmp_path / f"s-{number:03d}.tar",
            {"x.png": b"%d" % number, "x.txt": b"a cat", "x.json": b"{}"},
        )
    expected = [(f"s-{number:03d}.tar/x.png", b"%d" % number) for number in range(12)]
    assert contents(open_source(tmp_path)) == expected
    assert contents(open_source(str(tmp_path / "s-{000..011}.tar"))) == expected
    assert contents(open_source(str(tmp_path / "s-{002,001}.tar"))) == [expected[2], expected[1]]
    assert contents(open_source(str(tmp_path / "s-*1.tar"))) == [expected[1], expected[11]]
    with pytest.raises(EvalkitError, match=r"There is no file .*s-012\.tar"):
        open_source(str(tmp_path / "s-{000..012}.tar"))
    with pytest.raises(EvalkitError, match="stands for 100000000000 files"):
        open_source(str(tmp_path / "s-{0..99999999999}.tar"))


def test_places_without_images_are_refused(tmp_path: Path):
    with pytest.raises(EvalkitError, match="There is no file or folder"):
        open_source(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(EvalkitError, match="has no images"):
        open_source(tmp_path / "empty")
    with pytest.raises(EvalkitError, match="has no images"):
        open_source(pack_zip(tmp_path / "a.zip", {"a.txt": b""}))
    with pytest.raises(EvalkitError, match="is not a source of images"):
        open_source(tmp_path / "notes.txt")
