"""The network of 2015-12-05 behind FID, KID and the inception score, optimised for inference.

Inception v3 (Szegedy et al. 2015, https://arxiv.org/abs/1512.00567) as in Google's TensorFlow graph
of 2015-12-05: 1008 classes, average pooling that does not count the padding, and maximum pooling in
the last block. Layers have the names of the converted weights that torch-fidelity and pytorch-fid
read.

Batch norm is folded into the convolutions (in float64) and the memory layout is channels-last. On a
CPU, each convolution is fused with its ReLU and its weights are packed in advance. Features change
by rounding only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d

from evalkit.core import EvalkitError, Precision
from evalkit.encoders.inputs import exact, moved, split
from evalkit.precision import computing

_EPSILON = 1e-3  # of batch norm
_STEM_BATCH = 2  # the outputs of the first layers are large; more images exceed the CPU's cache
SPATIAL_CHANNELS = 7


class Layer(NamedTuple):
    """One convolution with batch norm and ReLU."""

    inputs: int
    outputs: int
    height: int = 1  # of the kernel
    width: int = 1
    stride: int = 1
    padded: bool = True  # a stride of 1 then keeps the size


def _reduced(inputs: int, outputs: int) -> Layer:
    return Layer(inputs, outputs, 3, 3, 2, False)


def _layers() -> dict[str, Layer]:
    layers = {
        "Conv2d_1a_3x3": _reduced(3, 32),
        "Conv2d_2a_3x3": Layer(32, 32, 3, 3, padded=False),
        "Conv2d_2b_3x3": Layer(32, 64, 3, 3),
        "Conv2d_3b_1x1": Layer(64, 80),
        "Conv2d_4a_3x3": Layer(80, 192, 3, 3, padded=False),
        "Mixed_6a.branch3x3": _reduced(288, 384),
        "Mixed_6a.branch3x3dbl_1": Layer(288, 64),
        "Mixed_6a.branch3x3dbl_2": Layer(64, 96, 3, 3),
        "Mixed_6a.branch3x3dbl_3": _reduced(96, 96),
        "Mixed_7a.branch3x3_1": Layer(768, 192),
        "Mixed_7a.branch3x3_2": _reduced(192, 320),
        "Mixed_7a.branch7x7x3_1": Layer(768, 192),
        "Mixed_7a.branch7x7x3_2": Layer(192, 192, 1, 7),
        "Mixed_7a.branch7x7x3_3": Layer(192, 192, 7, 1),
        "Mixed_7a.branch7x7x3_4": _reduced(192, 192),
    }
    for block, inputs, pooled in (
        ("Mixed_5b", 192, 32),
        ("Mixed_5c", 256, 64),
        ("Mixed_5d", 288, 64),
    ):
        layers |= {
            f"{block}.branch1x1": Layer(inputs, 64),
            f"{block}.branch5x5_1": Layer(inputs, 48),
            f"{block}.branch5x5_2": Layer(48, 64, 5, 5),
            f"{block}.branch3x3dbl_1": Layer(inputs, 64),
            f"{block}.branch3x3dbl_2": Layer(64, 96, 3, 3),
            f"{block}.branch3x3dbl_3": Layer(96, 96, 3, 3),
            f"{block}.branch_pool": Layer(inputs, pooled),
        }
    for block, narrow in (
        ("Mixed_6b", 128),
        ("Mixed_6c", 160),
        ("Mixed_6d", 160),
        ("Mixed_6e", 192),
    ):
        layers |= {
            f"{block}.branch1x1": Layer(768, 192),
            f"{block}.branch7x7_1": Layer(768, narrow),
            f"{block}.branch7x7_2": Layer(narrow, narrow, 1, 7),
            f"{block}.branch7x7_3": Layer(narrow, 192, 7, 1),
            f"{block}.branch7x7dbl_1": Layer(768, narrow),
            f"{block}.branch7x7dbl_2": Layer(narrow, narrow, 7, 1),
            f"{block}.branch7x7dbl_3": Layer(narrow, narrow, 1, 7),
            f"{block}.branch7x7dbl_4": Layer(narrow, narrow, 7, 1),
            f"{block}.branch7x7dbl_5": Layer(narrow, 192, 1, 7),
            f"{block}.branch_pool": Layer(768, 192),
        }
    for block, inputs in (("Mixed_7b", 1280), ("Mixed_7c", 2048)):
        layers |= {
            f"{block}.branch1x1": Layer(inputs, 320),
            f"{block}.branch3x3_1": Layer(inputs, 384),
            f"{block}.branch3x3_2a": Layer(384, 384, 1, 3),
            f"{block}.branch3x3_2b": Layer(384, 384, 3, 1),
            f"{block}.branch3x3dbl_1": Layer(inputs, 448),
            f"{block}.branch3x3dbl_2": Layer(448, 384, 3, 3),
            f"{block}.branch3x3dbl_3a": Layer(384, 384, 1, 3),
            f"{block}.branch3x3dbl_3b": Layer(384, 384, 3, 1),
            f"{block}.branch_pool": Layer(inputs, 192),
        }
    return layers


LAYERS = _layers()


class Activations(NamedTuple):
    pool: Tensor  # float32 [N, 2048], the mean over the last grid
    logits: Tensor  # float32 [N, 1008], without bias
    # float32 [N, 2023]: the first 7 channels of mixed_6/conv in the order row, column, channel, as
    # in ADM's evaluator
    spatial: Tensor


class InceptionNetwork:
    """float32 [N, 3, 299, 299] in [-1, 1] to activations.

    Args:
        state: the state dict of the converted weights.
        device: where it runs.

    Raises EvalkitError where layers are missing or have another shape.
    """

    def __init__(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        _check(state)
        fused = device.type == "cpu" and fused_convolutions_work()
        self.device = device
        self.layers = {
            name: _Convolution(state, name, layer, device, fused) for name, layer in LAYERS.items()
        }
        self.classes = state["fc.weight"].to(device, torch.float32)

    def __call__(self, images: Tensor, precision: Precision = "exact") -> Activations:
        with computing(precision):
            pool, spatial = self._features(images)
        with exact():
            return Activations(pool, pool @ self.classes.T, spatial)

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        images = moved(images, self.device).contiguous(memory_format=torch.channels_last)
        parts = split(images, self.device, _STEM_BATCH)
        x = torch.cat([self._stem(part) for part in parts])  # [N, 192, 35, 35]
        x = _mixed_5(self._block("Mixed_5b"), x)  # [N, 256, 35, 35]
        x = _mixed_5(self._block("Mixed_5c"), x)  # [N, 288, 35, 35]
        x = _mixed_5(self._block("Mixed_5d"), x)
        x = _mixed_6a(self._block("Mixed_6a"), x)  # [N, 768, 17, 17]
        x = _mixed_6(self._block("Mixed_6b"), x)
        x = _mixed_6(self._block("Mixed_6c"), x)
        x = _mixed_6(self._block("Mixed_6d"), x)
        # The first channels of the concatenation are those of branch1x1.
        spatial = x[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)
        x = _mixed_6(self._block("Mixed_6e"), x)
        x = _mixed_7a(self._block("Mixed_7a"), x)  # [N, 1280, 8, 8]
        x = _mixed_7(self._block("Mixed_7b"), x, _average_pooled)  # [N, 2048, 8, 8]
        x = _mixed_7(self._block("Mixed_7c"), x, _max_pooled)
        return x.float().mean(dim=(2, 3)), spatial.float()

    def _stem(self, x: Tensor) -> Tensor:
        for name in ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"):  # [N, 64, 147, 147]
            x = self.layers[name](x)
        x = max_pool2d(x, 3, stride=2)  # [N, 64, 73, 73]
        x = self.layers["Conv2d_4a_3x3"](self.layers["Conv2d_3b_1x1"](x))  # [N, 192, 71, 71]
        return max_pool2d(x, 3, stride=2)  # [N, 192, 35, 35]

    def _block(self, name: str) -> Callable[[str], _Convolution]:
        return lambda layer: self.layers[f"{name}.{layer}"]


def _mixed_5(layer: Callable[[str], _Convolution], x: Tensor) -> Tensor:
    wide = layer("branch5x5_2")(layer("branch5x5_1")(x))
    double = layer("branch3x3dbl_3")(layer("branch3x3dbl_2")(layer("branch3x3dbl_1")(x)))
    return torch.cat(
        [layer("branch1x1")(x), wide, double, _average_pooled(layer("branch_pool"), x)], dim=1
    )


def _mixed_6a(layer: Callable[[str], _Convolution], x: Tensor) -> Tensor:
    double = layer("branch3x3dbl_3")(layer("branch3x3dbl_2")(layer("branch3x3dbl_1")(x)))
    return torch.cat([layer("branch3x3")(x), double, max_pool2d(x, 3, stride=2)], dim=1)


def _mixed_6(layer: Callable[[str], _Convolution], x: Tensor) -> Tensor:
    single, double = x, x
    for name in ("branch7x7_1", "branch7x7_2", "branch7x7_3"):
        single = layer(name)(single)
    for name in (
        "branch7x7dbl_1",
        "branch7x7dbl_2",
        "branch7x7dbl_3",
        "branch7x7dbl_4",
        "branch7x7dbl_5",
    ):
        double = layer(name)(double)
    return torch.cat(
        [layer("branch1x1")(x), single, double, _average_pooled(layer("branch_pool"), x)], dim=1
    )


def _mixed_7a(layer: Callable[[str], _Convolution], x: Tensor) -> Tensor:
    single, double = layer("branch3x3_2")(layer("branch3x3_1")(x)), x
    for name in ("branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"):
        double = layer(name)(double)
    return torch.cat([single, double, max_pool2d(x, 3, stride=2)], dim=1)


def _mixed_7(
    layer: Callable[[str], _Convolution],
    x: Tensor,
    pooled: Callable[[_Convolution, Tensor], Tensor],
) -> Tensor:
    single = layer("branch3x3_1")(x)
    double = layer("branch3x3dbl_2")(layer("branch3x3dbl_1")(x))
    parts = [layer("branch1x1")(x), layer("branch3x3_2a")(single), layer("branch3x3_2b")(single)]
    parts += [
        layer("branch3x3dbl_3a")(double),
        layer("branch3x3dbl_3b")(double),
        pooled(layer("branch_pool"), x),
    ]
    return torch.cat(parts, dim=1)


def _average_pooled(layer: _Convolution, x: Tensor) -> Tensor:
    """Average pooling after the 1x1 convolution: the same result as before it, and fewer channels
    to average.
    """
    return avg_pool2d(layer(x, relu=False), 3, stride=1, padding=1, count_include_pad=False).relu_()


def _max_pooled(layer: _Convolution, x: Tensor) -> Tensor:
    return layer(max_pool2d(x, 3, stride=1, padding=1))


class _Convolution:
    """Convolution with folded batch norm and ReLU, channels-last."""

    def __init__(
        self,
        state: Mapping[str, Tensor],
        name: str,
        layer: Layer,
        device: torch.device,
        fused: bool,
    ) -> None:
        weight, gain, bias, mean, variance = (
            state[f"{name}.{part}"].to(torch.float64) for part in _PARTS
        )
        scale = gain / (variance + _EPSILON).sqrt()
        weight = (weight * scale[:, None, None, None]).to(device, torch.float32)
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.bias = (bias - mean * scale).to(device, torch.float32)
        self.stride = [layer.stride, layer.stride]
        self.padding = [layer.height // 2, layer.width // 2] if layer.padded else [0, 0]
        self.fused, self.packed = fused, False

    def __call__(self, x: Tensor, relu: bool = True) -> Tensor:
        weight = self.weight
        if self.fused and not torch.is_autocast_enabled("cpu"):
            if not self.packed:  # packing depends on the image size, which is always the same
                self.weight = weight = _packed(weight, self.padding, self.stride, x)
                self.packed = True
            return _fused(x, weight, self.bias, self.padding, self.stride, relu)
        if self.packed:  # the fused operators know no autocast
            weight = weight.to_dense().contiguous(memory_format=torch.channels_last)
        x = conv2d(x, weight, self.bias, self.stride, self.padding)
        return x.relu_() if relu else x


_PARTS = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")


def _packed(weight: Tensor, padding: list[int], stride: list[int], x: Tensor) -> Tensor:
    operators: Any = torch.ops.mkldnn
    return operators._reorder_convolution_weight(weight, padding, stride, [1, 1], 1, list(x.shape))


def _fused(
    x: Tensor, weight: Tensor, bias: Tensor, padding: list[int], stride: list[int], relu: bool
) -> Tensor:
    operators: Any = torch.ops.mkldnn
    return operators._convolution_pointwise(
        x, weight, bias, padding, stride, [1, 1], 1, "relu" if relu else "none", [], ""
    )


@functools.cache
def fused_convolutions_work() -> bool:
    """Whether oneDNN's fused convolutions are available and correct; otherwise plain ones are used.

    They are private operators of torch's own compiler, which may change or disappear.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    random = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(shape, generator=random).contiguous(memory_format=torch.channels_last)
        for shape in ((2, 8, 9, 9), (16, 8, 3, 3))
    )
    bias = torch.randn(16, generator=random)
    try:
        with torch.inference_mode():
            found = _fused(x, _packed(weight, [1, 1], [2, 2], x), bias, [1, 1], [2, 2], True)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(found, conv2d(x, weight, bias, 2, 1).relu(), rtol=1e-4, atol=1e-4)


def _check(state: Mapping[str, Tensor]) -> None:
    expected: dict[str, tuple[int, ...]] = {"fc.weight": (1008, 2048)}
    for name, layer in LAYERS.items():
        shapes = ((layer.outputs, layer.inputs, layer.height, layer.width), *[(layer.outputs,)] * 4)
        expected |= {f"{name}.{part}": shape for part, shape in zip(_PARTS, shapes, strict=True)}
    wrong = [
        name
        for name, shape in expected.items()
        if not isinstance(state.get(name), Tensor) or tuple(state[name].shape) != shape
    ]
    if wrong:
        names = ", ".join(wrong[:3]) + (" …" if len(wrong) > 3 else "")
        raise EvalkitError(
            f"The weights do not fit Inception v3: {names} are missing or have another shape.",
            "Expected the converted weights of 2015-12-05, as torch-fidelity and pytorch-fid use.",
            code="encoders-11",
        )
