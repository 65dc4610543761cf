"""Pictures from folders, archives, arrays and datasets: the same names, bytes and order whatever
holds them, and nothing dangerous.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evalkit.core import EvalkitError
from evalkit.images import encode_png
from evalkit.sources import SourceImage, open_source
from evalkit.sources import archives as archives_module
from evalkit.sources import folders as folders_module
from evalkit.sources.replay import Replay

NAMES = ["10.png", "2.png", "a/10.png", "a/9.png", "b.jpg"]
SORTED = ["2.png", "10.png", "a/9.png", "a/10.png", "b.jpg"]
FILES = {name: name.encode() * 5 for name in NAMES}


def contents(source: object) -> list[tuple[str, bytes]]:
    found = []
    for picture in source:  # type: ignore[attr-defined]
        content = picture.read()
        found.append((picture.name, content if isinstance(content, bytes) else content.tobytes()))
    return found


def pack_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def pack_tar(path: Path, files: dict[str, bytes]) -> Path:
    mode = {".gz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2", ".tgz": "w:gz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_a_folder_and_its_zip_have_one_order(tmp_path: Path):
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
def test_archives_give_back_what_was_packed(
    files: dict[str, bytes], suffix: str, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("archives")
    assert dict(contents(open_source(pack_zip(folder / "a.zip", files)))) == files
    tar = open_source(pack_tar(folder / f"a{suffix}", files))
    assert contents(tar) == list(files.items())  # a tar file keeps its own order
    assert contents(tar) == list(files.items())


@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(
        st.integers(1, 9), st.integers(1, 7), st.integers(1, 7), st.sampled_from([1, 3, 4])
    ),
    packed=st.booleans(),
    labels=st.booleans(),
)
def test_arrays_give_back_their_pixels(
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
            np.array_equal(picture.read(), pixels[number]) for number, picture in enumerate(source)
        )
    assert [picture.name for picture in open_source(folder / "a.npz")][:1] == ["arr_0[0]"]


def test_an_array_is_never_loaded_as_a_whole(tmp_path: Path):
    import tracemalloc

    np.savez(tmp_path / "a.npz", np.zeros((600, 128, 128, 3), np.uint8))  # 29 MB
    source = open_source(tmp_path / "a.npz")
    tracemalloc.start()
    for picture in source:
        picture.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_any_thread_may_read_any_member_again(tmp_path: Path, suffix: str):
    files = {f"{number}.png": bytes([number]) * 100 for number in range(200)}
    pictures = list(open_source(pack_tar(tmp_path / f"a{suffix}", files)))
    order = np.random.RandomState(0).permutation(len(pictures))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda at: pictures[at].read(), order)) == [
            files[pictures[at].name] for at in order
        ]


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


def test_names_that_lead_elsewhere_lead_nowhere(tmp_path: Path):
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


def test_bombs_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for module in (archives_module, folders_module):
        monkeypatch.setattr(module, "MEMBER_LIMIT", 1 << 20)
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


def test_a_header_that_claims_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archives_module, "MEMBER_LIMIT", 1 << 20)
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 2 << 20
    (tmp_path / "a.tar.gz").write_bytes(
        gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(3 << 20))
    )
    with pytest.raises(EvalkitError, match="more than 1"):
        contents(open_source(tmp_path / "a.tar.gz"))


def test_damaged_archives_are_one_sentence(tmp_path: Path):
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
        with pytest.raises(EvalkitError, match="cannot be read"):
            contents(open_source(path))


def test_a_damaged_zip_member_is_an_unreadable_picture(tmp_path: Path):
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
def test_arrays_that_are_no_pictures_are_refused(tmp_path: Path, array: np.ndarray, message: str):
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


def test_pickles_in_arrays_are_refused_unopened(tmp_path: Path):
    evil = np.array([Marker(tmp_path / "ran")], dtype=object)
    np.save(tmp_path / "a.npy", evil, allow_pickle=True)
    np.savez(tmp_path / "a.npz", arr_0=evil)
    for file in ("a.npy", "a.npz"):
        with pytest.raises(EvalkitError, match="which is a pickle"):
            open_source(tmp_path / file)
    assert not (tmp_path / "ran").exists()


def test_a_truncated_array_names_where_it_ends(tmp_path: Path):
    pixels = np.random.RandomState(0).randint(0, 256, (10, 100, 100, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:100_000])
    pictures = list(open_source(tmp_path / "a.npy"))
    assert np.array_equal(pictures[2].read(), pixels[2])
    for number in (9, 4):
        with pytest.raises(OSError, match="ends after 3 of 10"):
            pictures[number].read()
    np.savez(tmp_path / "a.npz", pixels)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100_000])
    with pytest.raises(EvalkitError, match="cannot be read"):
        open_source(tmp_path / "a.npz")


def test_an_npz_without_pictures_says_what_it_holds(tmp_path: Path):
    np.savez(tmp_path / "a.npz", mu=np.zeros(3), sigma=np.eye(3))
    with pytest.raises(
        EvalkitError, match=r"contains mu \[3\], sigma \[3, 3\]; expected images in arr_0"
    ):
        open_source(tmp_path / "a.npz")


def tables(count: int) -> tuple[list[dict[str, object]], list[bytes]]:
    data = [encode_png(Image.new("RGB", (4, 4), (number, 0, 0))) for number in range(count)]
    return [{"bytes": item, "path": f"{number}.png"} for number, item in enumerate(data)], data


def test_parquet_shards(tmp_path: Path):
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    rows, data = tables(70)
    (tmp_path / "data").mkdir()
    for number, part in enumerate((rows[:33], rows[33:])):
        parquet.write_table(
            arrow.table({"label": list(range(len(part))), "image": part}),
            tmp_path / "data" / f"train-{number:05d}-of-00002.parquet",
        )
    source = open_source(tmp_path)
    assert source.count == 70
    assert [content for _, content in contents(source)] == data
    assert [picture.name for picture in source][34] == "train-00001-of-00002.parquet[1]"
    parquet.write_table(
        arrow.table({"image": rows[:1]}), tmp_path / "data" / "test-00000-of-00001.parquet"
    )
    with pytest.raises(EvalkitError, match="has the splits test, train"):
        open_source(tmp_path)
    assert len(contents(open_source(str(tmp_path / "data" / "test-*.parquet")))) == 1
    parquet.write_table(arrow.table({"caption": ["a"]}), tmp_path / "texts.parquet")
    with pytest.raises(EvalkitError, match=r"no image column \(caption\)"):
        contents(open_source(tmp_path / "texts.parquet"))
    parquet.write_table(
        arrow.table({"image": [{"bytes": None, "path": "/etc/passwd"}]}, schema=image_schema()),
        tmp_path / "paths.parquet",
    )
    with pytest.raises(OSError, match="contains its path, not the image"):
        contents(open_source(tmp_path / "paths.parquet"))
    (tmp_path / "texts.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(EvalkitError, match="cannot be read"):
        open_source(tmp_path / "texts.parquet")


def image_schema() -> object:
    import pyarrow as arrow

    return arrow.schema(
        [("image", arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())]))]
    )


def test_saved_datasets(tmp_path: Path):
    import pyarrow as arrow

    rows, data = tables(9)
    table = arrow.table({"image": rows}, schema=image_schema())
    with (
        arrow.OSFile(str(tmp_path / "data-00000-of-00001.arrow"), "wb") as file,
        arrow.ipc.new_stream(file, table.schema) as stream,
    ):
        stream.write_table(table, max_chunksize=4)
    state: dict[str, object] = {
        "_data_files": [{"filename": "data-00000-of-00001.arrow"}],
        "_indices_data_files": None,
    }
    (tmp_path / "state.json").write_text(json.dumps(state))
    (tmp_path / "dataset_info.json").write_text("{}")
    assert [content for _, content in contents(open_source(tmp_path))] == data
    for wrong, message in (
        ({"_indices_data_files": [{"filename": "i.arrow"}]}, "a selection or a new order"),
        ({"_data_files": [{"filename": "../x.arrow"}]}, "another folder"),
        ({"_data_files": 3}, "cannot be read"),
    ):
        (tmp_path / "state.json").write_text(json.dumps(state | wrong))
        with pytest.raises(EvalkitError, match=message):
            open_source(tmp_path)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(EvalkitError, match="the splits train, test"):
        open_source(tmp_path)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import sys

    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    for module in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EvalkitError, match="need pyarrow") as error:
        open_source(tmp_path / "a.parquet")
    assert "evalkit[datasets]" in error.value.hint


def test_places_without_pictures(tmp_path: Path):
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


def test_replay_reads_forwards_once_and_begins_anew_only_where_it_must():
    starts: list[int] = []

    def start() -> Iterator[int]:
        starts.append(1)
        return iter(range(100))

    replay = Replay(start, lambda _: 1, keep=10)
    for number in (3, 1, 0, 2, 8, 20, 15):
        assert replay.take(number) == number
    assert len(starts) == 1
    assert replay.take(0) == 0
    assert len(starts) == 2
    assert (replay.peek(5), replay.take(5)) == (5, 5)
    with pytest.raises(IndexError):
        replay.take(100)
    barrier = threading.Barrier(4)

    def read(first: int) -> list[int]:
        barrier.wait()
        return [replay.take(number) for number in range(first, 100, 4)]

    replay = Replay(start, lambda _: 1)
    with ThreadPoolExecutor(4) as pool:
        assert sorted(number for part in pool.map(read, range(4)) for number in part) == list(
            range(100)
        )


def test_replay_does_not_read_past_a_fault_again():
    starts: list[int] = []

    def start() -> Iterator[int]:
        starts.append(1)
        yield from range(5)
        raise OSError("torn")

    replay = Replay(start, lambda _: 1)
    for number in (9, 5, 7):
        with pytest.raises(OSError, match="torn"):
            replay.take(number)
    assert len(starts) == 1
    assert replay.take(4) == 4
    assert isinstance(SourceImage("a", lambda: b"").read(), bytes)
