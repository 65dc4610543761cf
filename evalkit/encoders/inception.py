"""Inception v3 of 2015-12-05, the network that FID, KID and the inception score are defined on.

The layers and the weights are torch-fidelity's conversion of the original TensorFlow graph; here batch norm is folded into
the convolutions and the memory layout is channels-last, which changes features by less than 1e-6. Convention `inception`:
TF1 bilinear resize to 299 x 299 without antialiasing, not rounded; then (x - 128) / 128.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

from evalkit.core import EvalkitError
from evalkit.encoders import weights
from evalkit.images import to_tensor
from evalkit.models.load import device_of

FILE = "weights-inception-2015-12-05-6726825d.pth"
SHA256_PREFIX = "6726825d"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"
PREPROCESSING = "tf1-bilinear-299-1"
SIZE = 299
_CPU_BATCH = 8  # more images at once spend their time in page faults, not in arithmetic


class Inception:
    """Image to "pool" (2048 features) and "logits" (1008, without bias)."""

    name = "inception"

    def __init__(self, state: dict[str, Tensor], digest: str, device: str = "cpu") -> None:
        self.fingerprint = f"{digest[:16]}/{PREPROCESSING}"
        self.device = torch.device(device)
        network = _network(state)
        layers = OrderedDict((name, layer) for name, layer in network.named_children() if name != "fc")
        self.body = nn.Sequential(layers).to(device=self.device).to(memory_format=torch.channels_last)
        self.classes = network.get_parameter("fc.weight").to(self.device)

    def prepare(self, image: Image) -> Tensor:
        """RGB image -> uint8 [3, H, W], its own size: the resize is part of the network's convention and is not rounded."""
        return to_tensor(image)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 [N, 3, H, W] -> {"pool": float32 [N, 2048], "logits": float32 [N, 1008]}, on the CPU."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images are {images.dtype} {tuple(images.shape)}; expected uint8 [N, 3, H, W]")
        pools = []
        for part in images.split(_CPU_BATCH if self.device.type == "cpu" else len(images)):
            with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
                pools.append(self.body(normalised(part.to(self.device))).flatten(1))
        pool = torch.cat(pools)
        return {"pool": pool.cpu(), "logits": (pool @ self.classes.T).cpu()}


def normalised(images: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] -> float32 [N, 3, 299, 299] in [-1, 1): TF1 bilinear (no half-pixel centres, no antialiasing), (x - 128) / 128.

    TF1 samples at i * H / 299 and repeats the last row; that is align_corners on a grid of 300 over an image padded by 1.
    """
    padded = pad(images.to(torch.float32), (0, 1, 0, 1), mode="replicate")
    resized = interpolate(padded, (SIZE + 1, SIZE + 1), mode="bilinear", align_corners=True)[:, :, :SIZE, :SIZE]
    return ((resized - 128) / 128).contiguous(memory_format=torch.channels_last)


def load(*, device: str = "auto", path: str = "", fetch: bool = True, sha256_prefix: str = SHA256_PREFIX) -> Inception:
    """The encoder, from a given file, from a cache, or fetched where that is allowed. The file's SHA-256 is checked."""
    file = Path(path) if path else weights.cached(FILE)
    if path and not Path(path).is_file():
        raise EvalkitError(f"There is no weights file {path}.", "Check the path.")
    if file is None and not fetch:
        raise EvalkitError(f"The weights {FILE} are in no cache.", f"Put them into {weights.cache_folder()}, or use `--encoders mini`.")
    file = file or weights.fetch(URL, FILE, sha256_prefix)
    digest = weights.verify(file, sha256_prefix)
    state = torch.load(file, map_location="cpu", weights_only=True)
    return Inception(state, digest, device_of(device))


def _network(state: dict[str, Tensor]) -> nn.Module:
    """torch-fidelity's network with these weights, batch norm folded.

    Its constructor unpickles whatever it is given, so it is handed a copy that was written here from plain tensors.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3
    except ModuleNotFoundError as error:
        raise EvalkitError(
            "The encoder 'inception' needs torch-fidelity, which is not installed.", "Type `pip install torch-fidelity`."
        ) from error
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    try:
        network = FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=file)
    except RuntimeError as error:
        raise EvalkitError("The weights do not fit Inception v3: layers are missing or of other shapes.", f"Expected {FILE}.") from error
    for block in network.modules():
        if isinstance(block, BasicConv2d):
            block.conv = fuse_conv_bn_eval(block.conv, block.bn)
            setattr(block, "bn", nn.Identity())  # noqa: B010
    return network.eval().requires_grad_(False)
