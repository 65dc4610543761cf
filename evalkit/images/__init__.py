"""Images from disk and to disk: list, decode, check, hash, encode.

Every change to an image is noted. The content of an image is the bytes of its file, or the pixels
of an array that has no image format.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, NoReturn

from PIL import Image as PILImage
from PIL import ImageOps, UnidentifiedImageError
from PIL.Image import Image

from evalkit.core import EvalkitError
from evalkit.escape import visible
from evalkit.files import read_limited
from evalkit.images.kinds import HEAD, is_text, kind_of
from evalkit.images.room import FILES, PIXELS, decoders, one_image
from evalkit.images.strict import (
    check_parts,
    check_tags,
    load_strictly,
    other_profile,
    sample_bits,
)
from evalkit.terminal import track

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Alpha = Literal["refuse", "white", "black"]
TURNED = "EXIF orientation applied"
PIXEL_LIMIT = 64_000_000
SHAPE_LIMIT = 200  # the longer side by the shorter one
# Bytes of one image file, unpacked. A larger file is not an image but may exhaust the memory.
MEMBER_LIMIT = 256 << 20
# Other decoders reduce 16 bits silently (JPEG 2000, PPM) or start programs (EPS).
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
EXPECTED = (
    "Expected 8-bit RGB or gray PNG, JPEG, WebP, AVIF, BMP, GIF or TIFF with one frame and at most"
    " 64 million pixels."
)
# Files of unsupported image formats are reported as invalid; they are not ignored.
_SUPPORTED = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif"),
    *(".bmp", ".gif", ".tif", ".tiff"),
)
_UNSUPPORTED = (".svg", ".heic", ".heif", ".jxl", ".jp2", ".exr", ".hdr", ".ppm", ".psd")


class Decoded(NamedTuple):
    image: Image  # RGB
    note: str  # the changes that decoding made, "" for none
    format: str = ""  # "PNG", "JPEG", ...; "array" for pixels


class Unreadable(str):
    """The reason why an image is invalid, such as "is truncated or damaged (...)"."""

    kind: str  # invalid images are counted by it

    def __new__(cls, reason: str, kind: str) -> Unreadable:
        text = super().__new__(cls, reason)
        text.kind = kind
        return text


class InvalidImage(NamedTuple):
    path: Path
    reason: str


def is_image_name(name: str) -> bool:
    """Whether a file name has a suffix of an image format, supported or not, and is not hidden."""
    path = Path(name)
    return path.suffix.lower() in _SUPPORTED + _UNSUPPORTED and not path.name.startswith(".")


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """A sort key that orders the numbers inside names by value."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", name.casefold())
    ], name


def read_image(path: Path | str, alpha: Alpha = "refuse") -> Image:
    """One image as RGB. Raises EvalkitError if it is invalid (see `decode`)."""
    return read_decoded(path, alpha).image


def read_decoded(path: Path | str, alpha: Alpha = "refuse") -> Decoded:
    """Like `read_image`, with a note on the changes (EXIF orientation, transparency)."""
    result = _decoded(Path(path), alpha)
    if isinstance(result, str):
        raise EvalkitError(visible(f"The image {path} {result}."), EXPECTED, code="images-1")
    return result


def check_images(paths: Sequence[Path], alpha: Alpha = "refuse", more_hint: str = "") -> int:
    """Decode every image; returns the number of pixels of the largest one.

    Raises one EvalkitError that lists the invalid ones, with `more_hint`.
    """

    def check(path: Path) -> InvalidImage | int:
        with one_image():
            result = _decoded(path, alpha)
            if isinstance(result, str):
                return InvalidImage(path, result)
            return result.image.width * result.image.height

    # Pillow releases the GIL while it decodes.
    with ThreadPoolExecutor(decoders()) as pool:
        checked = list(track(pool.map(check, paths), "checking images", len(paths)))
    if invalid := [image for image in checked if isinstance(image, InvalidImage)]:
        raise_invalid_images(invalid, len(paths), more_hint)
    return max((size for size in checked if isinstance(size, int)), default=0)


def _decoded(path: Path, alpha: Alpha) -> Decoded | Unreadable:
    try:
        return decode(read_bytes(path), alpha)
    except OSError as error:
        return Unreadable(f"cannot be read ({error.strerror})", "cannot be read")


def read_bytes(path: Path) -> bytes:
    """The content of an image file. Raises OSError with the reason as `strerror`."""
    if path.is_symlink() and not path.exists():
        raise OSError(errno.ENOENT, f"is a broken link to {os.readlink(path)}")
    with FILES.take(min(path.stat().st_size, MEMBER_LIMIT)):
        return read_limited(path, MEMBER_LIMIT)


def raise_invalid_images(
    invalid: Sequence[InvalidImage], total: int, more_hint: str = ""
) -> NoReturn:
    """Raise one error on all invalid images: the count of each kind, and ten of them by name."""
    kinds = Counter(getattr(item.reason, "kind", "") or "cannot be read" for item in invalid)
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    listed = "; ".join(visible(f"{item.path} {item.reason}") for item in invalid[:10])
    listed += "; …" if len(invalid) > 10 else ""
    hint = EXPECTED if kinds.keys() - {"changed", "cannot be read"} or not more_hint else ""
    if any("transparent" in item.reason for item in invalid):
        hint += " To composite the images of a folder model: `--set LABEL.alpha=white`."
    raise EvalkitError(
        f"{len(invalid)} of {total} images {'is' if len(invalid) == 1 else 'are'} invalid"
        f" ({counted}): {listed}.",
        f"{hint} {more_hint}".strip(),
        code="images-2",
    )


def decode(content: bytes | NDArray[np.uint8], alpha: Alpha = "refuse") -> Decoded | Unreadable:
    """RGB pixels, or the reason why the image is invalid.

    - Gray, 1-bit and palette images become RGB, and opaque alpha is dropped: no pixel changes.
    - EXIF orientation is applied and noted; a colour profile other than sRGB is noted.
    - The content decides on the format, not the name.
    - Damaged, animated, 16-bit, CMYK and too large files are invalid.
    - Transparent images are invalid, unless `alpha` gives a background for them.
    - Pixels of an array are uint8 [H, W], or [H, W, C] with 1, 3 or 4 channels. An array of only
      0 and 1 is invalid: values of 0 to 1 were probably converted to integers.
    """
    if not isinstance(content, bytes):
        return _of_pixels(content, alpha)
    if (kind := kind_of(content[:HEAD])) not in FORMATS:
        if not kind:
            kind = "text" if is_text(content[:HEAD]) else "in no known image format"
        return Unreadable(f"is {kind}" if content else "is empty", "not an image")
    try:
        check_parts(content, kind)
        image = PILImage.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > PIXEL_LIMIT:
            return Unreadable(
                f"has {image.width} x {image.height} pixels, more than 64 million",
                "too many pixels",
            )
        if narrow := _too_narrow(image.width, image.height):
            return narrow
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # the other frames of MPO are previews
            return Unreadable(f"has {frames} frames", "animated")
        if (
            image.mode in ("I", "F")
            or image.mode.startswith("I;16")
            or sample_bits(image, content) > 8
        ):
            return Unreadable("has more than 8 bits per sample", "more than 8 bits per sample")
        if image.mode not in ("1", "L", "P", "RGB", "LA", "PA", "RGBA"):
            return Unreadable(f"has the colour mode {image.mode}", f"colour mode {image.mode}")
        # Read before load(), which applies the orientation of TIFF files itself. That of PNG may
        # follow the pixels: Pillow loads them for it, and would load damaged ones only once.
        turned = "" if image.format == "PNG" else _orientation_note(image)
        with PIXELS.take(image.width * image.height):
            loaded = load_strictly(image, content)
            if image.format == "PNG":
                turned = _orientation_note(loaded)
            return _to_rgb(loaded, alpha, turned, image.format or "")
    except (PILImage.DecompressionBombError, PILImage.DecompressionBombWarning):
        return Unreadable("has more than 64 million pixels", "too many pixels")
    except UnidentifiedImageError:  # its text names an address in memory
        return Unreadable("is truncated or damaged (no decoder takes it)", "truncated or damaged")
    except Exception as error:  # damaged files raise OSError, SyntaxError, zlib.error, ...
        return Unreadable(f"is truncated or damaged ({error})", "truncated or damaged")


def _too_narrow(width: int, height: int) -> Unreadable | None:
    """An encoder that enlarges the shorter side would make billions of pixels of such an image."""
    if max(width, height) <= SHAPE_LIMIT * min(width, height):
        return None
    reason = f"has {width} x {height} pixels, one side over {SHAPE_LIMIT} times the other"
    return Unreadable(reason, "too narrow")


def _orientation_note(image: Image) -> str:
    """What is done about the EXIF orientation; damaged EXIF leaves the pixels as they are."""
    try:
        check_tags(image.info.get("exif", b"").removeprefix(b"Exif\0\0"))
        return TURNED if image.getexif().get(0x0112, 1) in range(2, 9) else ""
    except Exception:  # SyntaxError, struct.error, ...: the data is that of many cameras
        if image.format == "TIFF":
            raise  # its EXIF is the file itself
        return "damaged EXIF orientation not applied"


def _of_pixels(pixels: NDArray[np.uint8], alpha: Alpha) -> Decoded | Unreadable:
    shape = tuple(pixels.shape)
    if (
        str(pixels.dtype) != "uint8"
        or len(shape) not in (2, 3)
        or shape[2:] not in ((), (1,), (3,), (4,))
        or 0 in shape
    ):
        return Unreadable(
            f"is {pixels.dtype} {list(shape)}; expected uint8 [H, W, 3]", "wrong dtype or shape"
        )
    if shape[0] * shape[1] > PIXEL_LIMIT:
        return Unreadable(
            f"has {shape[1]} x {shape[0]} pixels, more than 64 million", "too many pixels"
        )
    if narrow := _too_narrow(shape[1], shape[0]):
        return narrow
    if int(pixels.max()) == 1:
        return Unreadable("contains only 0 and 1 (values of 0 to 1 as integers)", "wrong range")
    plain = pixels[:, :, 0] if shape[2:] == (1,) else pixels
    return _to_rgb(PILImage.fromarray(plain), alpha, "", "array")


def _to_rgb(image: Image, alpha: Alpha, turned: str, kind: str) -> Decoded | Unreadable:
    notes = [turned] if turned else []
    if profile := other_profile(image):
        notes.append(f"colour profile {profile} not applied")
    if turned == TURNED:
        image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        lowest = layered.getchannel("A").getextrema()[0]
        if lowest != 255:
            if alpha == "refuse":
                return Unreadable("is partly transparent", "partly transparent")
            image = PILImage.alpha_composite(PILImage.new("RGBA", layered.size, alpha), layered)
            notes.append(f"transparency composited on {alpha}")
        else:
            image = layered
    plain = image.convert("RGB")
    plain.info = {}
    return Decoded(plain, ", ".join(notes), kind)


def encode_png(image: Image) -> bytes:
    """The PNG file of an RGB image, without metadata: equal pixels give equal bytes."""
    if image.mode != "RGB" or not image.width or not image.height:
        raise EvalkitError(
            f"An image is {image.mode} with {image.width} x {image.height} pixels; expected RGB "
            "and at least one pixel.",
            code="images-3",
        )
    # A new image has no info: no ICC profile, EXIF or text.
    plain = PILImage.frombytes("RGB", image.size, image.tobytes())
    file = io.BytesIO()
    plain.save(file, "PNG", compress_level=6)
    return file.getvalue()


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_sha256(content: bytes | NDArray[np.uint8]) -> str:
    """The SHA-256 of a file's bytes or of an array's shape and pixels, in hexadecimal."""
    if not isinstance(content, bytes):
        content = f"{list(content.shape)}:".encode() + content.tobytes()
    return hashlib.sha256(content).hexdigest()


def pixels_sha256(image: Image, pixels: bytes) -> str:
    """The SHA-256 of an RGB image's size and `image.tobytes()`, whatever its file format."""
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    digest.update(pixels)
    return digest.hexdigest()


def to_tensor(image: Image) -> Tensor:
    """RGB image -> uint8 [3, H, W]."""
    import numpy
    import torch

    return torch.from_numpy(numpy.array(image)).permute(2, 0, 1).contiguous()


def to_images(images: Tensor) -> list[Image]:
    """uint8 [N, 3, H, W] -> RGB images."""
    arrays: Iterable = images.detach().cpu().permute(0, 2, 3, 1).contiguous().numpy()
    return [PILImage.fromarray(array) for array in arrays]
