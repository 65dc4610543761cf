"""Pictures from disk and to disk: decode, check, hash, encode. Nothing is altered without being said."""

from __future__ import annotations

import hashlib
import io
import re
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
    from torch import Tensor

Alpha = Literal["refuse", "white", "black"]
PIXEL_LIMIT = 64_000_000
# A closed list: other decoders reduce 16 bits silently (JPEG 2000, AVIF, PPM) or start programs (EPS).
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
EXPECTED = "Expected 8-bit RGB or gray PNG, JPEG, WebP, BMP, GIF or TIFF with one frame and at most 64 million pixels."
# Files that somebody means as pictures: those we read, and those we name as unreadable rather than pass over.
_READ = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_SUFFIXES = frozenset((*_READ, ".svg", ".avif", ".heic", ".heif", ".jxl", ".jp2", ".exr", ".hdr", ".ppm", ".psd"))


class Decoded(NamedTuple):
    image: Image  # RGB
    note: str  # what had to be done to it, "" for nothing


class BadImage(NamedTuple):
    path: Path
    reason: str  # "is truncated or damaged (...)"


def list_images(folder: Path | str) -> list[Path]:
    """The picture files directly in a folder, in natural order (2 before 10); hidden files are left out."""
    paths = (path for path in Path(folder).iterdir() if path.suffix.lower() in _SUFFIXES and not path.name.startswith("."))
    return sorted((path for path in paths if path.is_file()), key=lambda path: natural(path.name))


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """A sort key that orders numbers inside names by their value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name.casefold())], name


def read_image(path: Path | str, alpha: Alpha = "refuse") -> Image:
    """One picture as RGB. Raises EvalkitError where it could only be read by altering it (see `decode`)."""
    return read_decoded(path, alpha).image


def read_decoded(path: Path | str, alpha: Alpha = "refuse") -> Decoded:
    """As `read_image`, with a note on what was done: EXIF orientation applied, transparency composited."""
    path = Path(path)
    try:
        result = decode(path.read_bytes(), alpha)
    except OSError as error:
        result = f"cannot be read ({error.strerror})"
    if isinstance(result, str):
        raise EvalkitError(f"The image {path} {result}.", EXPECTED)
    return result


def check_images(paths: Sequence[Path], alpha: Alpha = "refuse") -> None:
    """Decode every picture and raise one EvalkitError that names those that cannot be taken (ten of them, and how many)."""

    def check(path: Path) -> BadImage | None:
        try:
            result = decode(path.read_bytes(), alpha)
        except OSError as error:
            result = f"cannot be read ({error.strerror})"
        return BadImage(path, result) if isinstance(result, str) else None

    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it decodes
        bad = [found for found in track(pool.map(check, paths), "checking images", len(paths)) if found]
    if bad:
        raise_bad_images(bad, len(paths))


def raise_bad_images(bad: Sequence[BadImage], total: int) -> None:
    """Raise the one sentence on pictures that cannot be taken."""
    named = "; ".join(f"{item.path} {item.reason}" for item in bad[:10]) + ("; …" if len(bad) > 10 else "")
    hint = EXPECTED
    if any("transparent" in item.reason for item in bad):
        hint += " A folder taken as a model may be composited: `--set FOLDER.alpha=white`."
    raise EvalkitError(f"{len(bad)} of {total} images cannot be taken as they are: {named}.", hint)


def decode(data: bytes, alpha: Alpha = "refuse") -> Decoded | str:
    """RGB pixels, or the reason why there are none.

    Lossless changes are made: gray, 1-bit and palette to RGB, opaque alpha dropped. EXIF orientation is applied and
    noted. Damaged, animated, 16-bit, CMYK and over-large files are refused, and transparency unless `alpha` names a
    background.
    """
    try:
        image = PILImage.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > PIXEL_LIMIT:
            return f"has {image.width} x {image.height} pixels, more than 64 million"
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # the further frames of MPO are previews
            return f"has {getattr(image, 'n_frames', 1)} frames"
        deep = image.mode in ("I", "F") or image.mode.startswith("I;16") or _sample_bits(image, data) > 8
        if deep:
            return "has more than 8 bits per sample"
        if image.mode not in ("1", "L", "P", "RGB", "LA", "PA", "RGBA"):
            return f"has the colour mode {image.mode}"
        turned = image.getexif().get(0x0112, 1) in range(2, 9)  # asked before load(), which turns TIFF itself
        image.load()
        return _to_rgb(image, alpha, turned)
    except PILImage.UnidentifiedImageError:
        if b"<svg" in data[:4096]:
            return "is SVG, which is no pixel format"
        return "is in no known pixel format" if data else "is empty"
    except (PILImage.DecompressionBombError, PILImage.DecompressionBombWarning):
        return "has more than 64 million pixels"
    except Exception as error:  # damaged files raise nearly everything: OSError, SyntaxError, IndexError, zlib.error, ...
        return f"is truncated or damaged ({error})"


def _sample_bits(image: Image, data: bytes) -> int:
    """Bits per sample in the file: Pillow opens 16-bit RGB as RGB and drops the lower half."""
    if image.format == "PNG":
        return data[24]  # IHDR
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, 8)  # BitsPerSample
        return max(bits) if isinstance(bits, tuple) else int(bits)
    return 8


def _to_rgb(image: Image, alpha: Alpha, turned: bool) -> Decoded | str:
    notes = ["EXIF orientation applied"] if turned else []
    image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        lowest = layered.getchannel("A").getextrema()[0]
        if lowest != 255:
            if alpha == "refuse":
                return "is partly transparent"
            image = PILImage.alpha_composite(PILImage.new("RGBA", layered.size, alpha), layered)
            notes.append(f"transparency composited on {alpha}")
        else:
            image = layered
    plain = image.convert("RGB")
    plain.info = {}
    return Decoded(plain, ", ".join(notes))


def encode_png(image: Image) -> bytes:
    """The PNG file of an RGB image: the same bytes for the same pixels, no metadata."""
    if image.mode != "RGB" or not image.width or not image.height:
        raise EvalkitError(f"An image is {image.mode} with {image.width} x {image.height} pixels; expected RGB and at least one.")
    plain = PILImage.frombytes("RGB", image.size, image.tobytes())  # drops info: ICC profile, EXIF, text
    file = io.BytesIO()
    plain.save(file, "PNG", compress_level=6)
    return file.getvalue()


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_tensor(image: Image) -> Tensor:
    """RGB image -> uint8 [3, H, W]."""
    import numpy
    import torch

    return torch.from_numpy(numpy.array(image)).permute(2, 0, 1).contiguous()


def to_images(images: Tensor) -> list[Image]:
    """uint8 [N, 3, H, W] -> RGB images."""
    arrays: Iterable = images.detach().cpu().permute(0, 2, 3, 1).contiguous().numpy()
    return [PILImage.fromarray(array) for array in arrays]
