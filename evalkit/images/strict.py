"""What Pillow accepts without a word: damaged pixels, more than 8 bits, keys for transparency."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import simplejpeg
from PIL import Image as PILImage
from PIL import ImageCms
from PIL.Image import Image

_GRAY = 0  # the colour type of PNG
PARTS = 50_000  # chunks, segments or pages; 64 million pixels of PNG have 25,000
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}


def load_strictly(image: Image, data: bytes) -> Image:
    """The image with its pixels loaded. Raises ValueError or OSError for damage.

    JPEG pixels are those of Pillow, bit for bit, and what libjpeg only warns about is an error: a
    hole, an end that is missing or of another file. The checksums of PNG and of deflated TIFF are
    checked.
    """
    if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
        space = "RGB" if image.mode == "RGB" else "GRAY"
        pixels = simplejpeg.decode_jpeg(data, space, fastdct=False, fastupsample=False)
        plain = pixels if space == "RGB" else pixels[:, :, 0]
        loaded = PILImage.fromarray(plain)
        loaded.info = image.info
        return loaded
    if image.format == "PNG":
        _check_png(image, data)
        _scale_key(image, data)
    if image.format == "GIF":
        _check_gif(data)
    if image.format == "TIFF":
        _check_tiff(image, data)
    image.load()
    return image


def _check_png(image: Image, data: bytes) -> None:
    """Compare the checksum of every chunk that is part of the pixels, and keep cICP."""
    at = 8
    while at + 12 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        name, end = data[at + 4 : at + 8], at + 8 + size
        if end + 4 > len(data):
            raise ValueError("it ends within a chunk")
        if name[:1].isupper() or name == b"tRNS":  # critical chunks begin with a capital letter
            (stated,) = struct.unpack(">I", data[end : end + 4])
            if zlib.crc32(memoryview(data)[at + 4 : end]) != stated:
                raise ValueError(f"wrong checksum of {name.decode('latin-1')}")
        if name == b"cICP":
            image.info["primaries"] = data[at + 8]
        if name == b"IEND":
            return
        at = end + 4
    raise ValueError("it has no end")


def _check_gif(data: bytes) -> None:
    """Follow the blocks to the end mark: a cut animation may look like an image of one frame."""
    at = 13 + _colours(data, 10)
    while at < len(data):
        kind = data[at]
        if kind == 0x3B:
            return
        if kind == 0x2C:  # an image: its descriptor, colours, and the size of its codes
            at += 11 + _colours(data, at + 9)
        elif kind == 0x21:  # an extension, and its label
            at += 2
        else:  # padding, which decoders pass over
            at += 1
            continue
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    raise ValueError("it has no end")


def _check_tiff(image: Image, data: bytes) -> None:
    """Compare the checksums of deflated strips or tiles, which libtiff does not read."""
    tags: Any = getattr(image, "tag_v2", {})
    if tags.get(259) not in (8, 32946):  # compression
        return
    left = 16 * image.width * image.height + (16 << 20)  # tiles may be larger than the image
    starts, sizes = (
        (tags.get(strip) or tags.get(tile)) for strip, tile in ((273, 324), (279, 325))
    )
    for start, size in zip(starts or (), sizes or (), strict=True):
        stream, rest = zlib.decompressobj(), data[start : start + size]
        while not stream.eof:
            found = stream.decompress(rest, 1 << 20)
            rest, left = stream.unconsumed_tail, left - len(found)
            if left < 0 or not (found or stream.eof):
                raise ValueError("a strip ends too early or too late")


def check_tags(data: bytes) -> int:
    """The number of pages of a TIFF, or of the tags of EXIF, which have its form.

    Raises ValueError where Pillow would print a warning: a tag is cut off or outside of the data.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return 0
    pages, (at,) = 0, struct.unpack_from(f"{order}4xI", data)
    while at:
        pages += 1
        if pages > PARTS:
            raise ValueError(f"it has more than {PARTS:,} pages")
        (count,) = struct.unpack_from(f"{order}H", data, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            _, kind, values, start = struct.unpack_from(f"{order}HHII", data, entry)
            size = _SIZES.get(kind, 0) * values
            if size > 4 and start + size > len(data):
                raise ValueError("a tag is outside of the file")
        at = struct.unpack_from(f"{order}I", data, at + 2 + 12 * count)[0]
    return pages


def check_parts(data: bytes, kind: str) -> None:
    """Raise ValueError for a file of very many small parts, which take Pillow minutes."""
    if kind == "TIFF":
        check_tags(data)
    walk = {"PNG": _png_parts, "GIF": _gif_parts, "JPEG": _jpeg_parts}.get(kind)
    if walk and any(True for _ in itertools.islice(walk(data), PARTS, None)):
        raise ValueError(f"it has more than {PARTS:,} parts")


def _png_parts(data: bytes) -> Iterator[int]:
    at = 8
    while at + 8 <= len(data):
        yield at
        at += 12 + int.from_bytes(data[at : at + 4], "big")


def _jpeg_parts(data: bytes) -> Iterator[int]:
    """The segments and the bytes between them, up to the pixels."""
    at = 2
    while at + 4 <= len(data):
        yield at
        if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):
            at += 1
        elif data[at + 1] == 0xDA:
            return
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def _gif_parts(data: bytes) -> Iterator[int]:
    """The blocks, the padding, and the pieces of extensions."""
    at = 13 + _colours(data, 10)
    while at < len(data) and data[at] != 0x3B:
        yield at
        kind = data[at]
        if kind not in (0x21, 0x2C):
            at += 1
            continue
        at += 2 if kind == 0x21 else 11 + _colours(data, at + 9)
        while at < len(data) and data[at]:
            if kind == 0x21:
                yield at
            at += 1 + data[at]
        at += 1


def _colours(data: bytes, at: int) -> int:
    """The bytes of a colour table, by the flags at this place."""
    flags = data[at] if at < len(data) else 0
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _scale_key(image: Image, data: bytes) -> None:
    """Pillow scales gray of 2 and 4 bits to 8, but not the value that means transparency."""
    bits, colour = data[24], data[25]
    key = image.info.get("transparency")
    if colour == _GRAY and bits in (2, 4) and isinstance(key, int):
        image.info["transparency"] = key * (255 // (2**bits - 1))


def sample_bits(image: Image, data: bytes) -> int:
    """Bits per sample in the file. Pillow opens 16-bit RGB as RGB and drops the lower bits."""
    if image.format == "PNG":
        return data[24]  # IHDR
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, 8)  # BitsPerSample
        return max(bits) if isinstance(bits, tuple) else int(bits)
    if image.format == "AVIF":
        at = data.find(b"av1C")  # its third byte: tier, 10 bits or more, 12 bits
        return 10 if at >= 0 and data[at + 6] & 0x40 else 8
    return 8


def other_profile(image: Image) -> str:
    """The name of a colour profile that is not sRGB, in which the pixels are read as if they were.

    "" for none, sRGB and gray profiles.
    """
    if image.info.get("primaries", 1) != 1:  # of PNG, which precedes a profile
        code = image.info["primaries"]
        return {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}.get(code, f"cICP {code}")
    profile = image.info.get("icc_profile")
    if not profile or image.mode in ("1", "L", "LA"):
        return ""
    try:
        found = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(found).strip()
    except (OSError, ImageCms.PyCMSError):
        return ""
    plain = "srgb" in name.lower() or name in ("c2", "c2ci", "uRGB", "nRGB")  # compact sRGB
    return "" if plain else "".join(filter(str.isprintable, name))[:40] or "without a name"
