"""The preprocessing conventions under which FID is published, and an encoder that applies all of
them to each decoded picture.

Four are the encoders `inception*`. The others are what some tools do to pictures before one of
these: cropping, and a resize that is rounded to 8 bits. Tools with other weights (torchvision's
Inception in torcheval, DF-GAN, AttnGAN) are left out: no preprocessing makes their numbers
comparable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from PIL.Image import Image, Resampling
from torch import Tensor

from evalkit.core import EncoderKind
from evalkit.encoders.inception_network import InceptionNetwork
from evalkit.encoders.inception_preprocessing import (
    ANTIALIAS,
    CLEAN,
    SIZE,
    TF1,
    TORCH,
    Preprocessing,
)
from evalkit.images import to_images, to_tensor

_BATCH = 8


class Convention(NamedTuple):
    """What is done to a picture before the network sees it, and who does so."""

    name: str  # of the encoder, where evalkit has one for it
    tools: str
    description: str
    preprocessing: Preprocessing
    before: Callable[[Image], Image] | None = (
        None  # what the tool does to the picture first; without it, `name` is an encoder
    )


def _square(image: Image) -> Image:
    """The middle of the longer side cut out."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _t2ibenchmark(image: Image) -> Image:
    return _square(image).resize((SIZE, SIZE), Resampling.BICUBIC)


def _gigagan(image: Image) -> Image:
    return _square(image).resize((256, 256), Resampling.LANCZOS)


def _heim(image: Image) -> Image:
    return image.resize((512, 512), Resampling.LANCZOS)


CONVENTIONS: tuple[Convention, ...] = (
    Convention(
        "inception",
        "TTUR, ADM's evaluator, torch-fidelity, StyleGAN, EDM, clean-fid legacy_tensorflow, torchmetrics before 1.8",
        "TensorFlow 1 bilinear, no antialiasing",
        TF1,
    ),
    Convention(
        "inception-torch",
        "pytorch-fid, MLPerf, clean-fid legacy_pytorch",
        "torch bilinear, no antialiasing, 2 (x / 255) - 1",
        TORCH,
    ),
    Convention(
        "inception-clean", "clean-fid", "Pillow bicubic with antialiasing, not rounded", CLEAN
    ),
    Convention(
        "inception-antialias",
        "torchmetrics since 1.8",
        "torch bilinear with antialiasing",
        ANTIALIAS,
    ),
    Convention(
        "t2ibenchmark",
        "T2IBenchmark",
        "centre crop, Pillow bicubic to 299 rounded to 8 bits, 2 (x / 255) - 1",
        TORCH,
        _t2ibenchmark,
    ),
    Convention(
        "gigagan-coco",
        "GigaGAN's COCO script, also used for Janus and SiD",
        "centre crop, Pillow Lanczos to 256 rounded to 8 bits, then clean-fid",
        CLEAN,
        _gigagan,
    ),
    Convention(
        "heim",
        "HEIM",
        "Pillow Lanczos to 512 x 512 whatever the shape, rounded to 8 bits, then pytorch-fid",
        TORCH,
        _heim,
    ),
)


class InceptionConventions:
    """Image to one "pool" of 2048 features per convention, under the convention's name; each
    picture is decoded once.
    """

    name = "inception-conventions"
    kind: EncoderKind = "inception"

    def __init__(
        self,
        network: InceptionNetwork,
        digest: str,
        conventions: Sequence[Convention] = CONVENTIONS,
    ) -> None:
        self.network, self.conventions = network, tuple(conventions)
        versions = ",".join(
            f"{item.name}:{item.preprocessing.version}:1" for item in self.conventions
        )
        self.fingerprint = (
            f"{digest[:16]}/conventions-{hashlib.sha256(versions.encode()).hexdigest()[:16]}"
        )

    def prepare(self, image: Image) -> Tensor:
        """RGB image -> uint8 [3, H, W], its own size."""
        return to_tensor(image)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 [N, 3, H, W] -> float32 [N, 2048] on the CPU for each convention."""
        parts = [self._encoded(part) for part in images.split(_BATCH)]
        return {
            item.name: torch.cat([part[item.name] for part in parts]) for item in self.conventions
        }

    def _encoded(self, images: Tensor) -> dict[str, Tensor]:
        pictures, found = to_images(images), {}
        seen: list[tuple[Tensor, Tensor]] = []  # what the network saw, and its answer
        for item in self.conventions:
            x = (
                images
                if item.before is None and item.preprocessing.dtype == torch.uint8
                else _prepared(pictures, item)
            )
            x = item.preprocessing.normalised(x.to(self.network.device))
            known = next(
                (pool for other, pool in seen if torch.equal(other, x)), None
            )  # 256 x 256 is as it is for GigaGAN's script
            pool = self.network(x).pool if known is None else known
            seen.append((x, pool))
            found[item.name] = pool.cpu()
        return found


def _prepared(pictures: Sequence[Image], item: Convention) -> Tensor:
    return torch.stack(
        [
            item.preprocessing.prepare(item.before(picture) if item.before else picture)
            for picture in pictures
        ]
    )
