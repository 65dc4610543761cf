"""Small images, and an encoder that counts the images that it encodes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from evalkit.encoders.pixels import Pixels
from evalkit.features.image_file import ImageFile
from evalkit.images import encode_png, to_tensor


def smooth_image(seed: int, size: tuple[int, int] = (20, 16)) -> Image.Image:
    coarse = np.random.RandomState(seed).randint(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def image_files(folder: Path, count: int) -> list[ImageFile]:
    """PNG files of three sizes in turn."""
    files = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        data = encode_png(smooth_image(number, (16 + 8 * (number % 3), 20)))
        path = folder / f"{number}.png"
        path.write_bytes(data)
        files.append(ImageFile(path, hashlib.sha256(data).hexdigest()))
    return files


class CountingEncoder(Pixels):
    """Keeps the size of an image, like Inception, and records the sizes of its batches."""

    name = "counting"

    def __init__(self, fingerprint: str = "a") -> None:
        self.fingerprint = fingerprint
        self.batches: list[int] = []

    def prepare(self, image: Image.Image) -> torch.Tensor:
        return to_tensor(image)

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        self.batches.append(len(images))
        mean, largest = images.float().mean(dim=(2, 3)), images.float().amax(dim=(2, 3))
        return {"pool": mean, "spatial": torch.cat([mean, largest], dim=1), "logits": largest}


def third(*, device: str = "cpu") -> Pixels:
    """An encoder of evalkit for a third kind of metrics."""
    encoder: Any = Pixels()
    encoder.name, encoder.kind = "pixels-dinov2", "dinov2"
    return encoder
