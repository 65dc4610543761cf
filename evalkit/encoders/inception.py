"""Inception v3 of 2015-12-05, one encoder for each preprocessing convention.

`inception`, `inception-torch`, `inception-clean` and `inception-antialias` differ in how an image
is resized (see `inception_preprocessing`), so their numbers are not comparable: each has its own
name and fingerprint. They share one network in memory.
"""

from __future__ import annotations

import weakref
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from evalkit.core import EncoderKind, EvalkitError, Precision
from evalkit.encoders import weights
from evalkit.encoders.inception_network import Activations, InceptionNetwork
from evalkit.encoders.inception_preprocessing import (
    ANTIALIAS,
    CLEAN,
    SIZE,
    TF1,
    TORCH,
    Preprocessing,
)
from evalkit.encoders.inputs import check, split
from evalkit.models.load import device_of

PREPROCESSING: dict[str, Preprocessing] = {
    "inception": TF1,
    "inception-torch": TORCH,
    "inception-clean": CLEAN,
    "inception-antialias": ANTIALIAS,
}
_CPU_BATCH = 8  # larger batches are slower: memory allocation dominates
# The networks in use, by the SHA-256 of their file and their device.
_networks: weakref.WeakValueDictionary[tuple[str, str], InceptionNetwork] = (
    weakref.WeakValueDictionary()
)


class Inception:
    """Image to "pool" (2048 features), "logits" (1008, no bias) and "spatial" (2023, for sFID)."""

    kind: EncoderKind = "inception"
    precision: Precision = "exact"

    def __init__(self, name: str, network: InceptionNetwork, digest: str) -> None:
        self.name, self.network, self.preprocessing = name, network, PREPROCESSING[name]
        self.fingerprint = f"{digest[:16]}/{self.preprocessing.version}"
        self.device = network.device

    def prepare(self, image: Image) -> Tensor:
        """RGB image of any size -> float32 [3, 299, 299] in [-1, 1]."""
        return self.preprocessing.prepare(image)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """float32 [N, 3, 299, 299] -> "pool" [N, 2048], "logits" [N, 1008] and "spatial" [N, 2023],
        float32 on the encoder's device.
        """
        check(images, torch.float32, SIZE)
        parts = split(images, self.device, _CPU_BATCH)
        found = [self.network(part, self.precision) for part in parts]
        return Activations(*map(torch.cat, zip(*found, strict=True)))._asdict()


def load(
    *,
    device: str = "auto",
    path: str = "",
    fetch: bool = True,
    sha256_prefix: str = "",
    name: str = "inception",
) -> Inception:
    """Inception v3 of 2015-12-05 with TensorFlow 1's resize: FID of the paper (2048 dimensions).

    Args:
        device: where the network runs.
        path: a weights file; "" for the pinned file.
        fetch: whether the pinned file may be downloaded.
        sha256_prefix: the expected start of the SHA-256 of `path`. The pinned file is always
            checked.
        name: a key of `PREPROCESSING`.

    Raises EvalkitError where the weights are missing, damaged or of another network.
    """
    network, digest = load_network(
        device=device, path=path, fetch=fetch, sha256_prefix=sha256_prefix
    )
    return Inception(name, network, digest)


def load_torch(*, device: str = "auto") -> Inception:
    """Inception v3 with the preprocessing of pytorch-fid (2048 dimensions)."""
    return load(device=device, name="inception-torch")


def load_clean(*, device: str = "auto") -> Inception:
    """Inception v3 with the preprocessing of clean-fid (2048 dimensions)."""
    return load(device=device, name="inception-clean")


def load_antialias(*, device: str = "auto") -> Inception:
    """Inception v3 with the preprocessing of torchmetrics since 1.8 (2048 dimensions)."""
    return load(device=device, name="inception-antialias")


def load_network(
    *, device: str = "auto", path: str = "", fetch: bool = True, sha256_prefix: str = ""
) -> tuple[InceptionNetwork, str]:
    """The network and the SHA-256 of its file; one network per file and device is in memory."""
    if path:
        file = Path(path)
        if not file.is_file():
            raise EvalkitError(
                f"There is no weights file {path}.", "Check the path.", code="encoders-10"
            )
        digest = weights.verify(file, sha256_prefix)
    else:
        [(item, file)] = weights.obtain("inception", fetch)
        digest = item.sha256
    key = (digest, device_of(device))
    network = _networks.get(key)
    if network is None:
        network = InceptionNetwork(weights.read_tensors(file), torch.device(key[1]))
        _networks[key] = network
    return network, digest
