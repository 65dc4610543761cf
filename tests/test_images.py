"""Images are read unchanged, or refused with their name and the reason."""

import io
import struct
import zlib
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evalkit.core import EvalkitError
from evalkit.images import (
    check_images,
    decode,
    encode_png,
    file_sha256,
    list_images,
    read_decoded,
    read_image,
    to_images,
    to_tensor,
)

RGB = Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (24, 32, 3), numpy.uint8))


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def half_transparent() -> Image.Image:
    image = RGB.convert("RGBA")
    image.putalpha(128)
    return image


def palette_with_transparency() -> bytes:
    image = RGB.quantize(8)
    return saved(image, transparency=0)


JPEG = saved(RGB, "JPEG", quality=95)
PNG = saved(RGB)
FLIPPED = PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:]  # one bit inside the pixel data
INVALID = {
    "empty": (b"", "is empty"),
    "text": (b"hello", "no known pixel format"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', "SVG"),
    "cut png": (PNG[: len(PNG) // 2], "truncated or damaged"),
    "cut jpeg": (JPEG[: len(JPEG) // 2], "truncated or damaged"),
    "cut header": (PNG[:20], "truncated or damaged|no known pixel format"),
    "flipped bit": (FLIPPED, "truncated or damaged"),
    "16-bit gray": (saved(Image.fromarray(numpy.zeros((4, 4), numpy.uint16))), "more than 8 bits"),
    "16-bit rgb": (png(2, 2, 16, 2, (b"\0" + bytes(12)) * 2), "more than 8 bits"),
    "16-bit tiff": (
        saved(Image.fromarray(numpy.zeros((4, 4), numpy.uint16)), "TIFF"),
        "more than 8 bits",
    ),
    "float tiff": (
        saved(Image.fromarray(numpy.zeros((4, 4), numpy.float32)), "TIFF"),
        "more than 8 bits",
    ),
    "cmyk": (saved(RGB.convert("CMYK"), "JPEG"), "colour mode CMYK"),
    "animated gif": (
        saved(RGB.quantize(4), "GIF", save_all=True, append_images=[RGB.rotate(90).quantize(4)]),
        "2 frames",
    ),
    "animated png": (saved(RGB, save_all=True, append_images=[RGB.rotate(180)]), "2 frames"),
    "animated webp": (
        saved(RGB, "WEBP", save_all=True, append_images=[RGB.rotate(180)], lossless=True),
        "2 frames",
    ),
    "pages": (saved(RGB, "TIFF", save_all=True, append_images=[RGB]), "2 frames"),
    "alpha": (saved(half_transparent()), "partly transparent"),
    "palette alpha": (palette_with_transparency(), "partly transparent"),
    "colour key": (
        saved(Image.new("RGB", (4, 4), (1, 2, 3)), transparency=(1, 2, 3)),
        "partly transparent",
    ),
    "65 MP": (png(10_000, 6_500, 1, 0, b""), "64 million"),
    "bomb": (png(60_000, 60_000, 1, 0, b""), "64 million"),
}


@pytest.mark.parametrize("name", INVALID)
@pytest.mark.filterwarnings("default::PIL.Image.DecompressionBombWarning")
def test_invalid_images_are_refused(name: str, tmp_path: Path) -> None:
    data, message = INVALID[name]
    (tmp_path / "image.png").write_bytes(data)
    with pytest.raises(EvalkitError, match=message) as error:
        read_image(tmp_path / "image.png")
    assert "image.png" in error.value.message
    assert error.value.exit_code == 2


def test_one_error_lists_all_invalid_images(tmp_path: Path) -> None:
    paths = [tmp_path / f"{at}.png" for at in range(15)]
    for at, path in enumerate(paths):
        path.write_bytes(PNG if at < 3 else PNG[:100])
    with pytest.raises(EvalkitError, match="12 of 15 images") as error:
        check_images(paths)
    assert [f"/{at}.png" in error.value.message for at in range(15)] == [
        3 <= at < 13 for at in range(15)
    ]
    check_images(paths[:3])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_rgb_is_read_unchanged(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(saved(RGB, kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert numpy.array_equal(numpy.array(read_image(tmp_path / "a")), numpy.array(RGB))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA"])
def test_lossless_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    image = RGB.convert(mode)
    (tmp_path / "a.png").write_bytes(saved(image))
    decoded = read_decoded(tmp_path / "a.png")
    assert decoded.note == ""
    assert numpy.array_equal(numpy.array(decoded.image), numpy.array(image.convert("RGB")))


@pytest.mark.parametrize(("alpha", "expected"), [("white", 191), ("black", 64)])
def test_transparency_is_composited_on_request_and_noted(
    alpha: str, expected: int, tmp_path: Path
) -> None:
    image = Image.new("RGBA", (4, 4), (128, 128, 128, 128))
    (tmp_path / "a.png").write_bytes(saved(image))
    decoded = read_decoded(tmp_path / "a.png", alpha)  # type: ignore[arg-type]
    assert abs(decoded.image.getpixel((0, 0))[0] - expected) <= 1  # type: ignore[index]
    assert decoded.note == f"transparency composited on {alpha}"


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_orientation_is_applied_and_noted(kind: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a").write_bytes(saved(RGB, kind, exif=exif))
    decoded = read_decoded(tmp_path / "a")
    assert decoded.note == "EXIF orientation applied"
    assert numpy.array_equal(
        numpy.array(decoded.image), numpy.array(RGB.transpose(Image.Transpose.ROTATE_270))
    )


@settings(deadline=None, max_examples=150)
@given(at=st.integers(0, len(PNG) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_file_is_refused_or_gives_the_same_pixels(at: int, byte: int, cut: bool) -> None:
    data = PNG[:at] if cut else PNG[:at] + bytes([byte]) + PNG[at + 1 :]
    result = decode(data)
    assert isinstance(result, str) or result.image.tobytes() == RGB.tobytes()


def test_png_files_are_deterministic_and_have_no_metadata() -> None:
    image = RGB.copy()
    image.info = {
        "dpi": (300, 300),
        "icc_profile": b"x",
        "Comment": "made by me",
        "note": "n",
        "transparency": (0, 0, 0),
    }
    data = encode_png(image)
    assert data == encode_png(RGB)
    assert Image.open(io.BytesIO(data)).tobytes() == RGB.tobytes()
    kinds = set()
    at = 8
    while at < len(data):
        kinds.add(data[at + 4 : at + 8])
        at += struct.unpack(">I", data[at : at + 4])[0] + 12
    assert kinds == {b"IHDR", b"IDAT", b"IEND"}
    with pytest.raises(EvalkitError, match="expected RGB"):
        encode_png(RGB.convert("L"))


def test_the_list_has_natural_order_and_unsupported_formats(tmp_path: Path) -> None:
    for name in ("10.png", "2.PNG", "a.svg", ".hidden.png", "notes.txt", "1.jpeg"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["1.jpeg", "2.PNG", "10.png", "a.svg"]


def test_tensors_and_the_hash_of_a_file(tmp_path: Path) -> None:
    tensor = to_tensor(RGB)
    assert tensor.dtype == torch.uint8
    assert tensor.shape == (3, 24, 32)
    assert tensor[0, 5, 7] == RGB.getpixel((7, 5))[0]  # type: ignore[index]
    assert to_images(tensor[None])[0].tobytes() == RGB.tobytes()
    (tmp_path / "a").write_bytes(b"abc")
    assert (
        file_sha256(tmp_path / "a")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
