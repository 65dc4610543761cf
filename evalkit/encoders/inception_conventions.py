"""The preprocessing conventions behind published FIDs, and an encoder that applies all of them.

Four of them are the encoders `inception*`. The others add a crop, or a resize that is rounded to 8
bits, before one of these four. Tools with different weights (torchvision's Inception in torcheval,
DF-GAN, AttnGAN) are left out: no preprocessing makes their numbers comparable.
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
from evalkit.encoders.inputs import centre_crop, split

_CPU_BATCH = 8


class Convention(NamedTuple):
    """What happens to an image before the network, and the tools that do it."""

    name: str
    tools: str
    description: str
    preprocessing: Preprocessing
    # What the tool does first; without it, an encoder of the same name exists.
    before: Callable[[Image], Image] | None = None


def _t2ibenchmark(image: Image) -> Image:
    return centre_crop(image, min(image.size)).resize((SIZE, SIZE), Resampling.BICUBIC)


def _gigagan(image: Image) -> Image:
    return centre_crop(image, min(image.size)).resize((256, 256), Resampling.LANCZOS)


def _heim(image: Image) -> Image:
    return image.resize((512, 512), Resampling.LANCZOS)


CONVENTIONS: tuple[Convention, ...] = (
    Convention(
        "inception",
        "TTUR, ADM's evaluator, torch-fidelity, StyleGAN, EDM, clean-fid legacy_tensorflow, "
        "torchmetrics before 1.8",
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
    """Image to 2048 features per convention, under the convention's name.

    Each image is decoded once for all conventions.
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
        """RGB image of any size -> float32 [conventions, 3, 299, 299] in [-1, 1]."""
        return torch.stack([_prepared(image, item) for item in self.conventions])

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """float32 [N, conventions, 3, 299, 299] -> float32 [N, 2048] on the CPU for each one."""
        parts = [self._encoded(part) for part in split(images, self.network.device, _CPU_BATCH)]
        return {
            item.name: torch.cat([part[item.name] for part in parts]) for item in self.conventions
        }

    def _encoded(self, images: Tensor) -> dict[str, Tensor]:
        pools: dict[str, Tensor] = {}
        known: list[tuple[Tensor, Tensor]] = []  # inputs of the network and their features
        for item, x in zip(self.conventions, images.unbind(1), strict=True):
            # Two conventions can agree, as GigaGAN's and clean-fid's do on 256 x 256 images.
            pool = next((pool for other, pool in known if torch.equal(other, x)), None)
            if pool is None:
                pool = self.network(x).pool.cpu()
                known.append((x, pool))
            pools[item.name] = pool
        return pools


def _prepared(image: Image, convention: Convention) -> Tensor:
    before = convention.before
    return convention.preprocessing.prepare(before(image) if before else image)
