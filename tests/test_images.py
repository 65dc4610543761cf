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
from PIL import Image, ImageCms

from evalkit.core import EvalkitError
from evalkit.images import (
    check_images,
    decode,
    encode_png,
    file_sha256,
    read_decoded,
    read_image,
    to_images,
    to_tensor,
)
from evalkit.images.strict import sample_bits

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


def keyed(bits: int, key: int) -> bytes:
    """A gray PNG of 4 x 1 pixels in which the gray `key` is transparent."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    row = b"\0\x1b" if bits == 2 else b"\0\x0f\xf0"
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0))
        + chunk(b"tRNS", struct.pack(">H", key))
        + chunk(b"IDAT", zlib.compress(row))
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
    "text": (b"hello", "is text"),
    "heif": (b"\0\0\0\x18ftypmif1\0\0\0\0miafheix", "is HEIC"),
    "avif named mif1": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "truncated or damaged"),
    "jpeg 2000": (b"\xff\x4f\xff\x51" + bytes(40), "is JPEG 2000"),
    "icon": (saved(RGB, "ICO"), "is an icon"),
    "ppm": (saved(RGB, "PPM"), "is PPM"),
    "pickle": (b"\x80\x04\x95" + bytes(8), "is a Python pickle"),
    "safetensors": (b"\x40" + bytes(7) + b'{"a": 1}', "is a safetensors file"),
    "webm": (b"\x1aE\xdf\xa3" + bytes(40), "is a video"),
    "raw photo": (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "no decoder takes it|damaged"),
    "html": (b"\n<!DOCTYPE html><html>not found</html>", "is an HTML page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is HEIC"),
    "jxl": (b"\xff\x0a" + bytes(40), "is JPEG XL"),
    "video": (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "is a video"),
    "zip": (b"PK\x03\x04" + bytes(40), "is a zip archive"),
    "gray key, 2 bits": (keyed(2, 3), "partly transparent"),
    "gray key, 4 bits": (keyed(4, 15), "partly transparent"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', "SVG"),
    "cut png": (PNG[: len(PNG) // 2], "truncated or damaged"),
    "cut jpeg": (JPEG[: len(JPEG) // 2], "truncated or damaged"),
    "cut header": (PNG[:20], "truncated or damaged|in no known image format"),
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


def photo(**options: object) -> bytes:
    """A JPEG of 256 x 256 pixels with smooth areas and edges."""
    blocks = numpy.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype("uint8")
    return saved(Image.fromarray(blocks).resize((256, 256), Image.Resampling.BICUBIC), **options)


@pytest.mark.parametrize("progressive", [False, True])
def test_what_libjpeg_only_warns_about_is_damage(progressive: bool) -> None:
    whole = photo(kind="JPEG", quality=92, progressive=progressive)
    other = photo(kind="JPEG", quality=70, progressive=progressive)
    third = len(whole) // 3
    for damaged in (
        whole[:third] + bytes(4096) + whole[third + 4096 :],
        whole[:third] + b"\xff\xd9",
        whole[:third] + other[third:],
        whole[: len(whole) - 500],
    ):
        found = decode(damaged)
        assert isinstance(found, str), "taken"
        assert "truncated or damaged" in found
    assert not isinstance(decode(whole + b"more bytes after the end"), str)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"restart_marker_rows": 1}],
    ids=str,
)
def test_jpeg_pixels_are_those_of_pillow(mode: str, options: dict[str, object]) -> None:
    for size in ((32, 24), (17, 9), (1, 1)):
        data = saved(RGB.resize(size).convert(mode), "JPEG", **options)
        found = decode(data)
        assert not isinstance(found, str)
        assert found.image.tobytes() == Image.open(io.BytesIO(data)).convert("RGB").tobytes()


@settings(max_examples=200, deadline=None)
@given(at=st.integers(8, len(PNG) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_png_never_changes_pixels_in_silence(at: int, bit: int) -> None:
    flipped = bytearray(PNG)
    flipped[at] ^= 1 << bit
    found = decode(bytes(flipped))
    assert isinstance(found, str) or found.image.tobytes() == RGB.tobytes()


def test_avif_is_read_with_8_bits_only() -> None:
    data = saved(RGB, "AVIF", quality=100, subsampling="4:4:4")
    found = decode(data)
    assert not isinstance(found, str)
    assert (found.format, found.image.size) == ("AVIF", RGB.size)
    at = data.index(b"av1C") + 6
    deep = data[:at] + bytes([data[at] | 0x40]) + data[at + 1 :]  # as an encoder of 10 bits writes
    assert sample_bits(Image.open(io.BytesIO(data)), data) == 8
    assert sample_bits(Image.open(io.BytesIO(data)), deep) == 10
    assert isinstance(decode(deep), str)


def test_a_colour_profile_other_than_srgb_is_noted() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert read_note(saved(RGB, icc_profile=srgb)) == ""
    assert read_note(saved(RGB, "JPEG", icc_profile=lab)).startswith("colour profile Lab")
    assert read_note(saved(RGB.convert("L"), icc_profile=lab)) == ""
    assert read_note(saved(RGB, icc_profile=b"no profile")) == ""


def read_note(data: bytes) -> str:
    found = decode(data)
    assert not isinstance(found, str)
    return found.note


@pytest.mark.parametrize("row", [0, 20])
def test_a_png_whose_checksums_are_right_and_whose_pixels_are_damaged_is_refused(row: int) -> None:
    """A filter that does not exist; Pillow finds it at its first load only."""
    rows = bytearray((b"\0" + bytes(range(96))) * 32)
    assert not isinstance(decode(png(32, 32, 8, 2, bytes(rows))), str)
    rows[97 * row] = 9
    assert "is truncated or damaged" in str(decode(png(32, 32, 8, 2, bytes(rows))))


@pytest.mark.parametrize("interlace", [0, 1])
def test_a_gif_without_its_end_is_damaged(interlace: int) -> None:
    """A cut animation may have one frame left."""
    first = RGB.quantize(64)
    whole = saved(first, "GIF", interlace=interlace, comment=b"c" * 300)
    assert not isinstance(decode(whole), str)
    assert not isinstance(decode(whole + b"more bytes"), str)
    moving = saved(first, "GIF", save_all=True, append_images=[RGB.rotate(90).quantize(4)])
    assert "truncated or damaged" in str(decode(whole[:-1]))
    for data in (whole, moving):
        assert all(isinstance(decode(data[:end]), str) for end in range(len(data)))


def test_a_broken_link_and_a_file_of_its_first_bytes_are_named(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "cut.png").write_bytes(PNG[:12])
    with pytest.raises(EvalkitError) as caught:
        check_images(sorted(tmp_path.iterdir()))
    assert "cut.png is truncated or damaged (no decoder takes it)" in caught.value.message
    assert "gone.png cannot be read (is a broken link to nowhere.png)" in caught.value.message
