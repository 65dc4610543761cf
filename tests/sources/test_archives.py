"""Images from zip and tar files: names, bytes and order, and hostile or damaged archives."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import make_image
from packing import contents, pack_tar, pack_zip

from evalkit.core import EvalkitError
from evalkit.images import encode_png
from evalkit.sources import archives as archives_module
from evalkit.sources import open_source

name = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\0", exclude_categories=("Cs", "Cc")),
    min_size=1,
    max_size=8,
)


member = st.lists(
    name.filter(lambda part: not part.startswith(".") and part != "__MACOSX"),
    min_size=1,
    max_size=3,
).map("/".join)


trees = st.dictionaries(
    member.map(lambda path: path + ".png"), st.binary(max_size=80), min_size=1, max_size=8
)


@settings(deadline=None, max_examples=40)
@given(files=trees, suffix=st.sampled_from([".tar", ".tar.gz", ".tar.xz"]))
def test_archives_return_the_packed_files(
    files: dict[str, bytes], suffix: str, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("archives")
    assert dict(contents(open_source(pack_zip(folder / "a.zip", files)))) == files
    tar = open_source(pack_tar(folder / f"a{suffix}", files))
    assert contents(tar) == list(files.items())  # a tar file keeps its own order
    assert contents(tar) == list(files.items())


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_any_thread_can_read_any_member_again(tmp_path: Path, suffix: str):
    files = {f"{number}.png": bytes([number]) * 100 for number in range(200)}
    images = list(open_source(pack_tar(tmp_path / f"a{suffix}", files)))
    order = np.random.RandomState(0).permutation(len(images))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda at: images[at].read(), order)) == [
            files[images[at].name] for at in order
        ]


def test_names_outside_the_archive_write_nothing(tmp_path: Path):
    bad = {"../../evil.png": b"1", "/abs.png": b"2", "a/../../b.png": b"3"}
    place = tmp_path / "deep" / "down"
    place.mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    packed = [
        pack_zip(place / "a.zip", bad),
        pack_tar(place / "a.tar", bad),
        pack_tar(place / "a.tgz", bad),
    ]
    for path in packed:
        assert sorted(content for _, content in contents(open_source(path))) == [b"1", b"2", b"3"]
    assert set(tmp_path.rglob("*")) - before == set(packed)


@pytest.mark.parametrize(
    ("kind", "what"),
    [(tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "link"), (tarfile.CHRTYPE, "device")],
)
def test_links_and_devices_in_tar_files_are_refused(tmp_path: Path, kind: bytes, what: str):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(EvalkitError, match=rf"'a\.png', which is a {what}"):
        contents(open_source(tmp_path / "a.tar"))


def test_too_large_members_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archives_module, "MEMBER_LIMIT", 1 << 20)
    zeros = {"a.png": bytes(3 << 20)}
    zipped, plain, packed = (
        pack_zip(tmp_path / "a.zip", zeros),
        pack_tar(tmp_path / "a.tar", zeros),
        pack_tar(tmp_path / "a.tar.gz", zeros),
    )
    for path in (zipped, plain):
        with pytest.raises(OSError, match="3 MiB unpacked, more than 1"):
            contents(open_source(path))
    with pytest.raises(EvalkitError, match="3 MiB unpacked, more than 1"):
        contents(open_source(packed))
    lying = bytearray(pack_zip(tmp_path / "b.zip", zeros).read_bytes())
    at = lying.index(b"PK\1\2")
    lying[at + 24 : at + 28] = struct.pack("<I", 1000)  # the directory says 1,000 bytes
    (tmp_path / "b.zip").write_bytes(lying)
    with pytest.raises(OSError, match=r"CRC|unpacked"):
        contents(open_source(tmp_path / "b.zip"))


def test_a_header_with_a_too_large_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archives_module, "MEMBER_LIMIT", 1 << 20)
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 2 << 20
    (tmp_path / "a.tar.gz").write_bytes(
        gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(3 << 20))
    )
    with pytest.raises(EvalkitError, match="more than 1"):
        contents(open_source(tmp_path / "a.tar.gz"))


def test_damaged_archives_are_refused(tmp_path: Path):
    noise = {
        "a.png": np.random.RandomState(0).bytes(5000),
        "b.png": np.random.RandomState(1).bytes(5000),
    }
    for suffix, pack in ((".zip", pack_zip), (".tar", pack_tar), (".tar.gz", pack_tar)):
        path = pack(tmp_path / f"a{suffix}", noise)
        path.write_bytes(path.read_bytes()[:7000])
        with pytest.raises((EvalkitError, OSError), match=r"cannot be read|4144 bytes too early"):
            contents(open_source(path))
        path.write_bytes(b"no archive")
        with pytest.raises(EvalkitError, match="is text; expected"):
            contents(open_source(path))


def test_a_damaged_zip_member_cannot_be_read(tmp_path: Path):
    data = bytearray(
        pack_zip(
            tmp_path / "a.zip", {"a.png": b"aaaa", "b.png": b"bbbb"}, zipfile.ZIP_STORED
        ).read_bytes()
    )
    data[data.index(b"aaaa")] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    first, second = open_source(tmp_path / "a.zip")
    with pytest.raises(OSError, match="CRC"):
        first.read()
    assert second.read() == b"bbbb"


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_ambiguous_and_encrypted_zips_are_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"1")
        archive.writestr("a.png", b"2")
    with pytest.raises(EvalkitError, match=r"several files named 'a\.png'"):
        open_source(tmp_path / "a.zip")
    data = bytearray(pack_zip(tmp_path / "b.zip", {"a.png": b"1"}).read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(EvalkitError, match="encrypted"):
        open_source(tmp_path / "b.zip")


@pytest.mark.parametrize("damage", ["flip", "cut", "zero", "more"])
def test_a_damaged_header_is_not_the_end(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for at in range(4):
            data = encode_png(make_image(at, ""))
            info = tarfile.TarInfo(f"{at}.png")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with tarfile.open(path) as archive:
        third = archive.getmembers()[2].offset
    content = bytearray(path.read_bytes())
    assert len(list(open_source(path))) == 4
    if damage == "flip":
        content[third + 150] ^= 1
    elif damage == "cut":
        del content[third:]
    elif damage == "zero":
        content[third : third + 512] = bytes(512)
    else:
        content = content * 2
    path.write_bytes(content)
    with pytest.raises(EvalkitError, match=r"a\.tar cannot be read: it has"):
        list(open_source(path))


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_members_that_are_not_taken_are_named_with_the_reason(suffix: str, tmp_path: Path):
    files = {
        "0.png": b"1", "__MACOSX/._0.png": b"2", ".1.png": b"3", "notes.pdf": b"4", "0.txt": b"5",
    }  # fmt: skip
    pack = pack_zip if suffix == ".zip" else pack_tar
    source = open_source(pack(tmp_path / f"a{suffix}", files))
    assert [image.name for image in source] == ["0.png"]
    expected = {
        "__MACOSX/._0.png": "in __MACOSX", ".1.png": "hidden", "notes.pdf": "not an image",
    }  # fmt: skip
    if suffix == ".zip":  # webdataset, with texts beside the images, is a format of tar files
        expected["0.txt"] = "not an image"
    assert source.left == expected
