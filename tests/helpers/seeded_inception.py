"""Seeded weights of Inception v3, so that all tools have the same network without a download.

Batch norm is calibrated on images. Its shifts are positive, similar to those of a trained network:
with shifts around 0 a random network is chaotic, and torch-fidelity's own features in float32 and
in float64 differ by 2e-5.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from evalkit.encoders.inception_network import LAYERS


def sample_images(count: int, height: int, width: int, seed: int) -> Tensor:
    """Smooth images with noise, uint8 [N, 3, H, W]."""
    random = torch.Generator().manual_seed(seed)
    smooth = interpolate(
        torch.rand(count, 3, 6, 6, generator=random) * 255, (height, width), mode="bicubic"
    )
    return (
        (smooth + 20 * torch.randn(count, 3, height, width, generator=random))
        .clamp(0, 255)
        .to(torch.uint8)
    )


@functools.cache
def state_dict(seed: int = 0) -> dict[str, Tensor]:
    """torch-fidelity's state dict: He weights, batch norm calibrated on eight images."""
    random = torch.Generator().manual_seed(seed)
    state = {
        "fc.weight": 0.05 * torch.randn(1008, 2048, generator=random),
        "fc.bias": torch.zeros(1008),
    }
    for name, layer in LAYERS.items():
        shape = (layer.outputs, layer.inputs, layer.height, layer.width)
        state[f"{name}.conv.weight"] = (
            torch.randn(shape, generator=random) * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        )
        state[f"{name}.bn.weight"] = 0.8 + 0.4 * torch.rand(layer.outputs, generator=random)
        state[f"{name}.bn.bias"] = 0.75 + 0.1 * torch.randn(layer.outputs, generator=random)
        state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"] = (
            torch.zeros(layer.outputs),
            torch.ones(layer.outputs),
        )
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
    network = torch_fidelity_network(state)
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for layer in layers:
        layer.momentum = None  # the plain mean
        layer.train()
    with torch.no_grad():
        network(sample_images(8, 160, 160, seed))
    return {name: value.clone() for name, value in network.state_dict().items()}


def torch_fidelity_network(state: dict[str, Tensor]) -> FeatureExtractorInceptionV3:
    """torch-fidelity's own network with these weights, loaded by its own code."""
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, Path(folder) / "weights.pth")
        features = ["2048", "logits_unbiased"]
        return FeatureExtractorInceptionV3(
            "seeded", features, feature_extractor_weights_path=str(Path(folder) / "weights.pth")
        )
