"""Damage that a gate has to find, planted on the images of a model.

Some damage changes pixels: such images are encoded once. The other kinds change which image stands
where, so they need features only. Sizes are relative to the image or to the set.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from evalkit.features.image_file import ImageFile
from evalkit.features.map_ahead import map_ahead
from evalkit.features.validation import raise_invalid
from evalkit.images import Unreadable, content_sha256
from evalkit.terminal import progress

JPEG_QUALITY = 10
BLUR = 1 / 32  # of the shorter side: the radius of the Gaussian
SHARE = 0.1  # of the images: dropped, black, and kept by a collapse

BLACK = -1  # in place of an image: a black one
ABSENT = -2  # no image
Places = np.ndarray  # int [N]: which image stands at each place, or BLACK or ABSENT
Rearrange = Callable[[Places, np.random.RandomState], Places]


class Damage(NamedTuple):
    """One kind. It changes the pixels of every image, or which images stand where.

    Neither: the images are made again (half the guidance).
    """

    name: str
    meaning: str
    pixels: Callable[[Image.Image], Image.Image] | None = None
    places: Rearrange | None = None


def jpeg(image: Image.Image) -> Image.Image:
    """The image after JPEG at quality 10."""
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=JPEG_QUALITY)
    return Image.open(buffer).convert("RGB")


def blur(image: Image.Image) -> Image.Image:
    """The image after a Gaussian blur of 1/32 of its shorter side, at least 1 pixel."""
    return image.filter(ImageFilter.GaussianBlur(max(1.0, BLUR * min(image.size))))


def shuffled(places: Places, random: np.random.RandomState) -> Places:
    """Every image at the place of another prompt; samples of one prompt are neighbours."""
    present = places >= 0
    moved = places.copy()
    count = int(present.sum())
    moved[present] = np.roll(places[present], max(1, random.randint(count // 4, count // 2 + 1)))
    return moved


def dropped(places: Places, random: np.random.RandomState) -> Places:
    return _some(places, random, ABSENT)


def black(places: Places, random: np.random.RandomState) -> Places:
    return _some(places, random, BLACK)


def collapsed(places: Places, random: np.random.RandomState) -> Places:
    """Copies of a tenth of the images in place of all."""
    present = np.flatnonzero(places >= 0)
    kept = random.choice(places[present], max(1, round(SHARE * len(present))), replace=False)
    made = places.copy()
    made[present] = np.resize(kept, len(present))
    return made


def _some(places: Places, random: np.random.RandomState, becomes: int) -> Places:
    present = np.flatnonzero(places >= 0)
    made = places.copy()
    made[random.choice(present, max(1, round(SHARE * len(present))), replace=False)] = becomes
    return made


DAMAGES = (
    Damage("jpeg", f"JPEG, quality {JPEG_QUALITY}", pixels=jpeg),
    Damage("blur", "Gaussian blur, radius 1/32 of the side", pixels=blur),
    Damage("shuffled", "images of other prompts", places=shuffled),
    Damage("dropped", f"{SHARE:.0%} of the images missing", places=dropped),
    Damage("collapse", f"copies of {SHARE:.0%} of the images", places=collapsed),
    Damage("black", f"{SHARE:.0%} of the images black", places=black),
)

HALF_GUIDANCE = Damage("half_guidance", "images made with half the guidance")


def write_changed(
    files: Sequence[ImageFile],
    change: Callable[[Image.Image], Image.Image],
    folder: Path,
    label: str = "changing images",
) -> list[ImageFile]:
    """Changed copies of images, in their order, as PNG in a folder.

    Raises EvalkitError for images that cannot be decoded.
    """

    def work(file: ImageFile) -> bytes | None:
        found = file.decode()
        return None if isinstance(found, Unreadable) else _png(change(found.image))

    made: list[ImageFile] = []
    with progress(label, len(files)) as advance:
        for _, content in map_ahead(work, files, 32):
            if content is None:
                raise_invalid(files)
            made.append(_written(content, folder / f"{len(made):06d}.png"))
            advance(1)
    return made


def write_black(size: tuple[int, int], folder: Path) -> ImageFile:
    """One black image of (width, height)."""
    return _written(_png(Image.new("RGB", size)), folder / "black.png")


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def _written(content: bytes, path: Path) -> ImageFile:
    path.write_bytes(content)
    return ImageFile(path, content_sha256(content))
