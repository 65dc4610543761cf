"""Pictures from disk and to disk: decode, check, hash, encode. Nothing is altered without being
said.

The content of a picture is the bytes of its file, or the pixels of an array that was saved without
any picture format.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from PIL import Image as PILImage
from PIL import ImageOps
from PIL.Image import Image

from evalkit.core import EvalkitError
from evalkit.terminal import track

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Alpha = Literal["refuse", "white", "black"]
PIXEL_LIMIT = 64_000_000
# A closed list: other decoders reduce 16 bits silently (JPEG 2000, AVIF, PPM) or start programs
# (EPS).
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
EXPECTED = "Expected 8-bit RGB or gray PNG, JPEG, WebP, BMP, GIF or TIFF with one frame and at most 64 million pixels."
# Files that somebody means as pictures: those we read, and those we name as unreadable rather than
# pass over.
_READ = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_SUFFIXES = frozenset(
    (*_READ, ".svg", ".avif", ".heic", ".heif", ".jxl", ".jp2", ".exr", ".hdr", ".ppm", ".psd")
)


class Decoded(NamedTuple):
    image: Image  # RGB
    note: str  # what had to be done to it, "" for nothing
    format: str = ""  # "PNG", "JPEG", ...; "array" for pixels


class Unreadable(str):
    """Why a picture cannot be taken ("is truncated or damaged (...)"), with the kind of reason by
    which such pictures are counted.
    """

    kind: str

    def __new__(cls, reason: str, kind: str) -> Unreadable:
        text = super().__new__(cls, reason)
        text.kind = kind
        return text


class BadImage(NamedTuple):
    path: Path
    reason: str


def is_picture(name: str) -> bool:
    """Whether somebody means a file of this name as a picture, be it of a format that is read or
    not.
    """
    return Path(name).suffix.lower() in _SUFFIXES and not Path(name).name.startswith(".")


def list_images(folder: Path | str) -> list[Path]:
    """The picture files directly in a folder, in natural order (2 before 10); hidden files are left
    out.
    """
    paths = (path for path in Path(folder).iterdir() if is_picture(path.name))
    return sorted((path for path in paths if path.is_file()), key=lambda path: natural(path.name))


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """A sort key that orders numbers inside names by their value."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", name.casefold())
    ], name


def read_image(path: Path | str, alpha: Alpha = "refuse") -> Image:
    """One picture as RGB. Raises EvalkitError where it could only be read by altering it (see
    `decode`).
    """
    return read_decoded(path, alpha).image


def read_decoded(path: Path | str, alpha: Alpha = "refuse") -> Decoded:
    """As `read_image`, with a note on what was done: EXIF orientation applied, transparency
    composited.
    """
    path = Path(path)
    try:
        result = decode(path.read_bytes(), alpha)
    except OSError as error:
        result = f"cannot be read ({error.strerror})"
    if isinstance(result, str):
        raise EvalkitError(f"The image {path} {result}.", EXPECTED)
    return result


def check_images(paths: Sequence[Path], alpha: Alpha = "refuse") -> None:
    """Decode every picture and raise one EvalkitError that names those that cannot be taken (ten of
    them, and how many).
    """

    def check(path: Path) -> BadImage | None:
        try:
            result = decode(path.read_bytes(), alpha)
        except OSError as error:
            result = f"cannot be read ({error.strerror})"
        return BadImage(path, result) if isinstance(result, str) else None

    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it decodes
        bad = [
            found for found in track(pool.map(check, paths), "checking images", len(paths)) if found
        ]
    if bad:
        raise_bad_images(bad, len(paths))


def raise_bad_images(bad: Sequence[BadImage], total: int, way_out: str = "") -> None:
    """Raise the one sentence on pictures that cannot be taken: kinds with counts, and ten of them
    by name.
    """
    kinds = Counter(getattr(item.reason, "kind", "") or "cannot be read" for item in bad)
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    named = "; ".join(f"{item.path} {item.reason}" for item in bad[:10]) + (
        "; …" if len(bad) > 10 else ""
    )
    hint = EXPECTED
    if any("transparent" in item.reason for item in bad):
        hint += " A folder taken as a model may be composited: `--set FOLDER.alpha=white`."
    raise EvalkitError(
        f"{len(bad)} of {total} images cannot be taken as they are ({counted}): {named}.",
        f"{hint} {way_out}".strip(),
    )


def decode(content: bytes | NDArray[np.uint8], alpha: Alpha = "refuse") -> Decoded | Unreadable:
    """RGB pixels, or the reason why there are none.

    Lossless changes are made: gray, 1-bit and palette to RGB, opaque alpha dropped. EXIF
    orientation is applied and noted. Damaged, animated, 16-bit, CMYK and over-large files are
    refused, and transparency unless `alpha` names a background. Pixels are uint8 [H, W], or [H, W,
    C] with 1, 3 or 4 channels; those that hold 0 and 1 only are refused.
    """
    if not isinstance(content, bytes):
        return _of_pixels(content, alpha)
    try:
        image = PILImage.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > PIXEL_LIMIT:
            return Unreadable(
                f"has {image.width} x {image.height} pixels, more than 64 million",
                "too many pixels",
            )
        if (
            getattr(image, "n_frames", 1) > 1 and image.format != "MPO"
        ):  # the further frames of MPO are previews
            return Unreadable(f"has {getattr(image, 'n_frames', 1)} frames", "animated")
        deep = (
            image.mode in ("I", "F")
            or image.mode.startswith("I;16")
            or _sample_bits(image, content) > 8
        )
        if deep:
            return Unreadable("has more than 8 bits per sample", "more than 8 bits per sample")
        if image.mode not in ("1", "L", "P", "RGB", "LA", "PA", "RGBA"):
            return Unreadable(f"has the colour mode {image.mode}", f"colour mode {image.mode}")
        turned = image.getexif().get(0x0112, 1) in range(
            2, 9
        )  # asked before load(), which turns TIFF itself
        kind = image.format or ""
        image.load()
        return _to_rgb(image, alpha, turned, kind)
    except PILImage.UnidentifiedImageError:
        if b"<svg" in content[:4096]:
            return Unreadable("is SVG, which is no pixel format", "not a picture")
        return Unreadable("is in no known pixel format" if content else "is empty", "not a picture")
    except (PILImage.DecompressionBombError, PILImage.DecompressionBombWarning):
        return Unreadable("has more than 64 million pixels", "too many pixels")
    # damaged files raise nearly everything: OSError, SyntaxError, IndexError, zlib.error, ...
    except Exception as error:
        return Unreadable(f"is truncated or damaged ({error})", "truncated or damaged")


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
    if int(pixels.max()) == 1:
        return Unreadable("holds 0 and 1 only: values of 0 to 1 became integers", "wrong range")
    plain = pixels[:, :, 0] if shape[2:] == (1,) else pixels
    return _to_rgb(PILImage.fromarray(plain), alpha, False, "array")


def _sample_bits(image: Image, data: bytes) -> int:
    """Bits per sample in the file: Pillow opens 16-bit RGB as RGB and drops the lower half."""
    if image.format == "PNG":
        return data[24]  # IHDR
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, 8)  # BitsPerSample
        return max(bits) if isinstance(bits, tuple) else int(bits)
    return 8


def _to_rgb(image: Image, alpha: Alpha, turned: bool, kind: str) -> Decoded | Unreadable:
    notes = ["EXIF orientation applied"] if turned else []
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
    """The PNG file of an RGB image: the same bytes for the same pixels, no metadata."""
    if image.mode != "RGB" or not image.width or not image.height:
        raise EvalkitError(
            f"An image is {image.mode} with {image.width} x {image.height} pixels; expected RGB and at least one."
        )
    plain = PILImage.frombytes(
        "RGB", image.size, image.tobytes()
    )  # drops info: ICC profile, EXIF, text
    file = io.BytesIO()
    plain.save(file, "PNG", compress_level=6)
    return file.getvalue()


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_sha256(content: bytes | NDArray[np.uint8]) -> str:
    """The SHA-256 of a picture's content, in hexadecimal: of the bytes of a file, or of an array's
    shape and pixels.
    """
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    import numpy

    return hashlib.sha256(
        f"{list(content.shape)}:".encode() + numpy.ascontiguousarray(content).tobytes()
    ).hexdigest()


def pixels_sha256(image: Image, pixels: bytes) -> str:
    """The SHA-256 of an RGB image's size and pixels (`image.tobytes()`), in hexadecimal: the same
    for every file format.
    """
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
