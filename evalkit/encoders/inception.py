"""Inception v3 of 2015-12-05 as an encoder, once for each preprocessing convention; the network is
loaded once for all of them.

`inception`, `inception-torch`, `inception-clean` and `inception-antialias` differ in how a picture
is resized (see `inception_preprocessing`). Numbers of two of them must never stand in one
comparison: each has its name and its fingerprint.
"""

from __future__ import annotations

import pickle
import weakref
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from evalkit.core import EncoderKind, EvalkitError
from evalkit.encoders import weights
from evalkit.encoders.inception_network import Activations, InceptionNetwork
from evalkit.encoders.inception_preprocessing import ANTIALIAS, CLEAN, TF1, TORCH, Preprocessing
from evalkit.models.load import device_of

PREPROCESSING: dict[str, Preprocessing] = {
    "inception": TF1,
    "inception-torch": TORCH,
    "inception-clean": CLEAN,
    "inception-antialias": ANTIALIAS,
}
_CPU_BATCH = 8  # more images at once spend their time in page faults, not in arithmetic
_loaded: weakref.WeakValueDictionary[tuple[str, str], InceptionNetwork] = (
    weakref.WeakValueDictionary()
)  # (SHA-256, device)


class Inception:
    """Image to "pool" (2048 features), "logits" (1008, without bias) and "spatial" (2023, for
    sFID).
    """

    kind: EncoderKind = "inception"

    def __init__(self, name: str, network: InceptionNetwork, digest: str) -> None:
        self.name, self.network, self.preprocessing = name, network, PREPROCESSING[name]
        self.fingerprint = f"{digest[:16]}/{self.preprocessing.version}"

    def prepare(self, image: Image) -> Tensor:
        """RGB image -> uint8 [3, H, W] of its own size; for `inception-clean` float32 [3, 299,
        299].
        """
        return self.preprocessing.prepare(image)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Prepared [N, 3, H, W] -> {"pool": [N, 2048], "logits": [N, 1008], "spatial": [N, 2023]},
        float32 on the CPU.
        """
        expected = self.preprocessing.dtype
        if images.dtype != expected or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"images are {images.dtype} {tuple(images.shape)}; expected {expected} [N, 3, H, W]"
            )
        return encode(self.network, images, self.preprocessing)._asdict()


@torch.inference_mode()
def encode(network: InceptionNetwork, images: Tensor, preprocessing: Preprocessing) -> Activations:
    """Prepared [N, 3, H, W] to activations on the CPU. Resizing happens on the device, since it is
    a part of the convention.
    """
    parts = images.split(_CPU_BATCH if network.device.type == "cpu" else max(1, len(images)))
    found = [network(preprocessing.normalised(part.to(network.device))) for part in parts]
    return Activations(*(torch.cat(values).cpu() for values in zip(*found, strict=True)))


def load(
    *,
    device: str = "auto",
    path: str = "",
    fetch: bool = True,
    sha256_prefix: str = "",
    name: str = "inception",
) -> Inception:
    """The encoder of a name, with weights from a given file, from a cache, or fetched where that is
    allowed.

    Args:
        device: where the network runs.
        path: a weights file; without one, the pinned file is looked for and fetched.
        fetch: whether it may be fetched.
        sha256_prefix: how the SHA-256 of a given file must start. The pinned file is always checked
            in full.
        name: one of `PREPROCESSING`.

    Raises EvalkitError where there are no weights, or others than expected.
    """
    network, digest = load_network(
        device=device, path=path, fetch=fetch, sha256_prefix=sha256_prefix
    )
    return Inception(name, network, digest)


def load_torch(*, device: str = "auto") -> Inception:
    """`inception-torch`: the numbers of pytorch-fid."""
    return load(device=device, name="inception-torch")


def load_clean(*, device: str = "auto") -> Inception:
    """`inception-clean`: the numbers of clean-fid."""
    return load(device=device, name="inception-clean")


def load_antialias(*, device: str = "auto") -> Inception:
    """`inception-antialias`: the numbers of torchmetrics since 1.8."""
    return load(device=device, name="inception-antialias")


def load_network(
    *, device: str = "auto", path: str = "", fetch: bool = True, sha256_prefix: str = ""
) -> tuple[InceptionNetwork, str]:
    """The network and the SHA-256 of its file; one network for all who ask for the same file and
    device.
    """
    if path and not Path(path).is_file():
        raise EvalkitError(f"There is no weights file {path}.", "Check the path.")
    if path:
        file, digest = Path(path), weights.verify(Path(path), sha256_prefix)
    else:
        item, file = weights.obtain("inception", fetch)[0]
        digest = item.sha256
    where = torch.device(device_of(device))
    network = _loaded.get((digest, str(where)))
    if network is None:
        network = InceptionNetwork(_read(file), where)
        _loaded[digest, str(where)] = network
    return network, digest


def _read(file: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, OSError, pickle.UnpicklingError) as error:
        raise EvalkitError(
            f"The weights {file} cannot be read: they are no state dict of torch.",
            "Give the converted weights.",
        ) from error
    if not isinstance(state, dict):
        raise EvalkitError(
            f"The weights {file} hold a {type(state).__name__}; expected a state dict.",
            "Give the converted weights.",
        )
    return state
