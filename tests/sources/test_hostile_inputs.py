"""Files that would take all memory, endless time, or be left out in silence."""

from __future__ import annotations

import gzip
import io
import os
import socket
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from models_for_tests import make_image
from PIL import Image

from evalkit.core import EvalkitError
from evalkit.images import Unreadable, decode, encode_png, read_image
from evalkit.prompts import read_prompts
from evalkit.reference import foreign
from evalkit.reference.card import read_card
from evalkit.sources import open_source
from evalkit.training.captions.folder import folder_captions

PNG = encode_png(make_image(1, "image"))


def npy(shape: tuple[int, ...], dtype: str, held: int) -> bytes:
    """The header of an array of any size, with some bytes after it."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (64 - (len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(held)


def zipped(name: str, content: bytes, stated: int = 0, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file; its directory may state another size of the file in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, content)
    data = bytearray(file.getvalue())
    if stated:
        at = data.rindex(b"PK\1\2")
        data[at + 24 : at + 28] = struct.pack("<I", stated)
    return bytes(data)


def packed_tar(member: str, stated: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(member)
    info.size, info.type = stated, kind
    return gzip.compress(info.tobuf() + bytes(4096))


SOURCES = {
    "images-of-one-pixel": ("a.npy", npy((80_000_000, 1, 1, 3), "|u1", 1000), "it holds 1,128"),
    "negative-sides": ("a.npy", npy((-5, -64, 64, 3), "|u1", 1000), "states the shape"),
    "nested-header": ("a.npy", npy((1,), "|u1", 0)[:10] + b"(" * 5000, "header is damaged"),
    "large-image": ("a.npz", zipped("arr_0.npy", npy((1, 20000, 20000, 3), "|u1", 9),
     1_300_000_000), "20,000 x 20,000 pixels"),
    "array-bomb": ("a.npz", zipped("arr_0.npy", npy((7000, 300, 300, 3), "|u1", 9), 2_000_000_000),
     "unpacks to 1.76 GiB"),
    "zip-bomb": ("a.zip", zipped("a.png", PNG, 2_000_000_000), "unpacks to 1.86 GiB"),
    "zip-of-bzip2": ("a.zip", zipped("a.png", PNG, method=zipfile.ZIP_BZIP2), "method 12 of zip"),
    "npz-of-lzma": ("a.npz", zipped("arr_0.npy", npy((1, 8, 8, 3), "|u1", 192),
     method=zipfile.ZIP_LZMA), "method 14 of zip"),
    "tar-bomb": ("a.tar.gz", packed_tar("a.bin", 8_000_000_000), "unpacks to 7.45 GiB"),
    "tar-of-a-large-header": ("a.tar.gz", packed_tar("x", 200 << 20, tarfile.XHDTYPE), "a header"),
}  # fmt: skip


@pytest.mark.parametrize("case", SOURCES)
def test_sources_that_state_or_unpack_to_far_too_much(tmp_path: Path, case: str) -> None:
    name, content, message = SOURCES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EvalkitError, match=message):
        [image.read() for image in open_source(tmp_path / name)]


STATISTICS = {
    "npy": ("a.npy", npy((10**12, 64), "<f4", 1000), "states"),
    "npz": ("a.npz", zipped("feats.npy", npy((10**12, 64), "<f4", 1000)), "states"),
    "bomb": ("a.npz", zipped("feats.npy", npy((4, 4), "<f4", 64), 2_000_000_000), "unpacks to"),
    "bzip2": ("a.npz", zipped("mu.npy", npy((4,), "<f8", 32), method=12), "method 12 of zip"),
    "memo": ("a.pkl", b"\x80\x04}r" + struct.pack("<I", 2**28) + b".", "value as number 268435456"),
    "memo-text": ("a.pkl", b"\x80\x04}p300000000\n.", "value as number 300000000"),
}


@pytest.mark.parametrize("case", STATISTICS)
def test_statistics_that_state_or_unpack_to_far_too_much(tmp_path: Path, case: str) -> None:
    name, content, message = STATISTICS[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EvalkitError, match=message):
        foreign.read(tmp_path / name)


@pytest.mark.parametrize(
    "content", ["x = " + "[" * 50_000, f"[a{'.a' * 50_000}]\n", "count = []\n"]
)
def test_a_damaged_card_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "card.toml").write_text(content)
    with pytest.raises(EvalkitError, match=r"card of the reference in .* cannot be read"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "[" + "1," * 10_000_001, "about 10,000,002 values"),
        ("a.txt", "\n" * 2_000_001, "2,000,001 lines"),
        ("a.json", "[" * 100_000, "not valid JSON"),
    ],
    ids=["values", "lines", "nested"],
)
def test_prompt_lists_of_absurd_size(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(EvalkitError, match=message):
        read_prompts(tmp_path / name)


def test_a_small_parquet_file_with_very_many_prompts(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    text = arrow.array(["a cat " * 5000]).take(arrow.array([0] * 5_000))
    parquet.write_table(arrow.table({"prompt": text}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    with pytest.raises(EvalkitError, match="over 128 MiB of text"):
        read_prompts(tmp_path / "a.parquet")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def endless(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(20 << 30)


@pytest.mark.parametrize("make", [fifo, device, endless], ids=["fifo", "device", "endless"])
@pytest.mark.parametrize(
    "read",
    [
        lambda path: read_prompts(path / "a.txt"),
        lambda path: read_prompts(path / "a.csv"),
        lambda path: read_image(path / "a.png"),
        lambda path: read_card(path),
    ],
    ids=["text", "table", "image", "card"],
)
def test_what_is_no_file_of_the_right_size_is_not_read(
    tmp_path: Path, make: Callable[[Path], None], read: Callable[[Path], object]
) -> None:
    for name in ("a.txt", "a.csv", "a.png", "card.toml"):
        make(tmp_path / name)
    with pytest.raises(EvalkitError, match="cannot be read"):
        read(tmp_path)


def test_captions_of_linked_folders_are_found_and_pipes_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "0.png").write_bytes(PNG)
    (tmp_path / "elsewhere" / "0.txt").write_text("a cat")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "set" / "captions.csv")
    found = folder_captions(tmp_path / "set", ["linked/0.png"])
    assert found.of == {"linked/0.png": ["a cat"]}


def left_of(folder: Path) -> dict[str, str]:
    return dict(open_source(folder).left)


def test_everything_beside_the_images_is_named(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "0.png").write_bytes(PNG)
    monkeypatch.chdir(folder)  # the name of a socket must be short
    for name in ("pipe", "pipe.png", "t.tar", "t.parquet"):
        os.mkfifo(name)
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket.jpg")
    server.close()
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "gone").symlink_to("nowhere")
    (folder / "loop").symlink_to(".")
    (folder / "1.png").mkdir()
    for _ in range(20):  # a path that is too long to be listed
        Path("x" * 250).mkdir()
        os.chdir("x" * 250)
    left = left_of(folder)
    unlisted = [name for name, reason in left.items() if reason.startswith("not readable: ")]
    assert len(unlisted) == 1
    assert left | {unlisted[0]: ""} == {
        "pipe": "not a file",
        "pipe.png": "not a file",
        "t.tar": "an archive inside",
        "t.parquet": "not a file",
        "socket.jpg": "not a file",
        "zero": "not a file",
        "zero.png": "not a file",
        "gone": "a broken link",
        "loop": "a link to another folder of the set",
        "1.png": "an empty folder",
        unlisted[0]: "",
    }


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (("run.toml", "prompts.jsonl", "images/a/0.png"), "a run of evalkit"),
        (("metrics.json", "protocol.json", "report/figures/a.png"), "a run of evalkit"),
        (("images/a/model.json", "images/a/0.png"), "images of a run of evalkit"),
        (("fid.png", "fid.svg", "fid.pdf", "fid.csv"), "a figure of evalkit"),
    ],
    ids=["run", "scores", "images", "figure"],
)
@pytest.mark.parametrize("below", ["out", "a/b/out"])
def test_results_of_evalkit_are_not_images_of_the_set(
    tmp_path: Path, files: tuple[str, ...], reason: str, below: str
) -> None:
    (tmp_path / "0.png").write_bytes(PNG)
    for name in files:
        (tmp_path / below / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / below / name).write_bytes(PNG if name.endswith(".png") else b"{}")
    source = open_source(tmp_path)
    assert [image.name for image in source] == ["0.png"]
    assert reason in source.left.values()


def saved(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    make_image(2, "x").save(file, kind, **options)
    return file.getvalue()


def chunks(count: int) -> bytes:
    return PNG[:33] + b"\0\0\0\0tEXt\xb7\x92\x5e\x16" * count + PNG[33:]


GIF, JPEG = saved("GIF"), saved("JPEG")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (chunks(60_000), "50,000 parts"),
        (JPEG[:2] + b"\xff\xe3\x00\x02" * 60_000 + JPEG[2:], "50,000 parts"),
        (JPEG[:2] + b"\xff" * 60_000 + JPEG[2:], "50,000 parts"),
        (GIF[:-1] + bytes(60_000) + GIF[-1:], "50,000 parts"),
        (GIF[:-1] + b"\x21\xfe" + b"\x01x" * 60_000 + b"\0" + GIF[-1:], "50,000 parts"),
        (b"II*\0" + struct.pack("<IHI", 8, 0, 8), "50,000 pages"),  # a page that follows itself
        (b"II*\0" + struct.pack("<IHHHIII", 8, 1, 256, 3, 2**30, 9, 0), "outside of the file"),
    ],
    ids=["png", "jpeg", "jpeg-fill", "gif", "gif-comment", "tiff", "tiff-tag"],
)
def test_images_of_very_many_parts_are_refused(content: bytes, message: str) -> None:
    found = decode(content)
    assert isinstance(found, Unreadable)
    assert message in found


def test_the_checksum_of_deflated_tiff_is_checked() -> None:
    data = bytearray(saved("TIFF", compression="tiff_adobe_deflate"))
    assert not isinstance(decode(bytes(data)), Unreadable)
    image = Image.open(io.BytesIO(data))
    start, size = image.tag_v2[273][0], image.tag_v2[279][0]  # pyright: ignore
    data[start + size - 1] ^= 1
    assert "truncated or damaged" in str(decode(bytes(data)))


def test_sharpness_of_an_image_that_is_read_in_strips() -> None:
    from evalkit.features.validation import facts_of

    pixels = np.random.RandomState(0).randint(0, 256, (1300, 1100, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=0)
    decoded = decode(file.getvalue())
    assert not isinstance(decoded, Unreadable)
    grey = np.asarray(image.convert("L"), dtype=np.int16)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    assert facts_of(decoded).sharpness == np.abs(4 * grey[1:-1, 1:-1] - around).mean()


def test_an_image_that_an_encoder_would_enlarge_without_limit_is_refused() -> None:
    found = decode(encode_png(Image.new("RGB", (2010, 10), (9, 9, 9))))
    assert "one side over 200 times the other" in str(found)
    assert "one side over 200 times" in str(decode(np.full((10, 2010, 3), 9, np.uint8)))
    assert not isinstance(decode(np.full((10, 2000, 3), 9, np.uint8)), Unreadable)
