"""The images of a study as raters see them: pixels only, all of one size.

The common size is the largest width and the largest height of all images of the study, scaled down
where a side is longer than LONGEST. Each image is scaled to fit (Lanczos, up or down, its aspect
kept), and what remains is filled with mid-gray. Images that have this size already are not changed.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL.Image import Image, Resampling

from evalkit.core import EvalkitError
from evalkit.images import read_image
from evalkit.rate.serve.order import Shown, in_hash_order

LONGEST = 1024  # pixels
GRAY = (128, 128, 128)
_CACHE = 128 * 2**20  # bytes
_PIECES = 8  # per side; of images that are made bad
Places = Mapping[tuple[str, str], Path]  # (prompt id, model) -> file


class ShownImages:
    """PNG files on demand; `size` is the width and height of all of them."""

    def __init__(self, places: Places, seed: int) -> None:
        self._places, self._seed = places, seed
        self.size = common_size([size_of(path) for path in places.values()])
        self._cache: OrderedDict[Shown, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def png(self, shown: Shown) -> bytes:
        """The PNG of an image. Raises EvalkitError if its file is missing or damaged."""
        with self._lock:
            if shown in self._cache:
                self._cache.move_to_end(shown)
                return self._cache[shown]
        image = read_image(self._places[shown.prompt, shown.model])
        if shown.bad:
            image = shuffled(image, self._seed, shown.prompt, shown.model)
        png = _png(fitted(image, self.size))
        with self._lock:
            if shown not in self._cache:
                self._cache[shown] = png
                self._bytes += len(png)
            while self._bytes > _CACHE:
                self._bytes -= len(self._cache.popitem(last=False)[1])
        return png


def common_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Width and height of all images of the study; see above."""
    width, height = (max(side) for side in zip(*sizes, strict=True))
    scale = min(1.0, LONGEST / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def fitted(image: Image, size: tuple[int, int]) -> Image:
    """The image in the middle of a mid-gray one of this size, as large as it fits in."""
    if image.size == size:
        return image
    scale = min(size[0] / image.width, size[1] / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    scaled = image if inner == image.size else image.resize(inner, Resampling.LANCZOS)
    canvas = PILImage.new("RGB", size, GRAY)
    canvas.paste(scaled, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return canvas


def shuffled(image: Image, *seed: object) -> Image:
    """The image in pieces (8 x 8 of them), in another order: an image that is known to be bad."""
    pixels = numpy.asarray(image)  # uint8 [H, W, 3]
    columns = [
        numpy.concatenate(_pieces(column, 0, *seed, number), axis=0)
        for number, column in enumerate(_pieces(pixels, 1, *seed))
    ]
    return PILImage.fromarray(numpy.concatenate(columns, axis=1))


def _pieces(pixels: NDArray[numpy.uint8], axis: int, *seed: object) -> list[NDArray[numpy.uint8]]:
    pieces = numpy.array_split(pixels, min(_PIECES, pixels.shape[axis]), axis=axis)
    return [pieces[place] for place in in_hash_order(range(len(pieces)), *seed)]


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a file, by its first bytes."""
    try:
        with PILImage.open(path) as image:
            return image.size
    except (OSError, SyntaxError, PILImage.DecompressionBombError) as error:
        raise EvalkitError(
            f"The image {path} of the study is missing or damaged.",
            "Make it again: delete it, then run `evalkit run` for this folder again.",
            code="rate-56",
        ) from error


def _png(image: Image) -> bytes:
    """PNG without metadata; quicker than encode_png, and a tenth larger."""
    file = io.BytesIO()
    PILImage.frombytes("RGB", image.size, image.tobytes()).save(file, "PNG", compress_level=1)
    return file.getvalue()
