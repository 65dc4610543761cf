"""LPIPS v0.1 with VGG16 (Zhang et al. 2018, https://arxiv.org/abs/1801.03924): the perceptual
distance between images of one prompt.

Convention of torch-fidelity's `lpips-vgg16` at 256 pixels: images are resized by area where both
sides are larger, else bilinearly (align_corners=False), not rounded, and scaled to [-1, 1] and by
the paper's shift and scale. The activations of five layers of torchvision's VGG16 are normalised
over their channels; their squared differences are weighted by the published heads, averaged over
the image and summed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, max_pool2d, relu

from evalkit.core import EncoderKind, EvalkitError
from evalkit.encoders import weights
from evalkit.encoders.inputs import check, exact, per_channel
from evalkit.images import to_tensor
from evalkit.models.load import device_of

SIZE = 256
PREPROCESSING = f"area-or-bilinear-{SIZE}-1"
# The convolutions of VGG16 by their numbers in torchvision. LPIPS uses the last activation of each
# of these five slices.
_SLICES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_CHANNELS = (64, 128, 256, 512, 512)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPS = 1e-10
_BLOCK = 16  # images whose activations are in memory together: 35 MB each
_CPU_BATCH = 4
_EXPECTED = "Give the official files: `evalkit weights fetch lpips-vgg` fetches them."


class Lpips:
    """All images of one prompt to "diversity", each image's mean LPIPS distance to the others."""

    name = "lpips-vgg"
    kind: EncoderKind = "lpips"
    grouped = True  # called once with all images of a prompt

    def __init__(
        self, trunk: dict[str, Tensor], heads: dict[str, Tensor], digest: str, device: str = "cpu"
    ) -> None:
        self.fingerprint = f"{digest[:16]}/{PREPROCESSING}"
        self.device = torch.device(device)
        try:
            numbers = [number for part in _SLICES for number in part]
            self.kernels = {
                number: _channels_last(trunk[f"features.{number}.weight"].to(self.device))
                for number in numbers
            }
            self.biases = {
                number: trunk[f"features.{number}.bias"].to(self.device) for number in numbers
            }
            self.heads = [  # [1, channels, 1, 1]
                heads[f"lin{index}.model.1.weight"].to(self.device) for index in range(len(_SLICES))
            ]
        except KeyError as error:
            raise EvalkitError(
                f"The weights are not those of LPIPS with VGG16: {error} is missing.",
                _EXPECTED,
                code="encoders-12",
            ) from error
        channels = tuple(len(self.kernels[numbers[-1]]) for numbers in _SLICES)
        if not channels == tuple(head.shape[1] for head in self.heads) == _CHANNELS:
            raise EvalkitError(
                "The weights are not those of LPIPS with VGG16: shapes differ.",
                _EXPECTED,
                code="encoders-13",
            )

    def prepare(self, image: Image) -> Tensor:
        """RGB image of any size -> float32 [3, 256, 256] in [0, 255]."""
        pixels = to_tensor(image)[None].float()
        if min(image.size) > SIZE:
            return interpolate(pixels, (SIZE, SIZE), mode="area")[0]
        return interpolate(pixels, (SIZE, SIZE), mode="bilinear", align_corners=False)[0]

    @exact()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """The images of one prompt, float32 [n, 3, 256, 256] -> {"diversity": float32 [n, 1]}.

        NaN for a single image.
        """
        check(images, torch.float32, SIZE)
        if len(images) < 2:
            return {"diversity": torch.full((len(images), 1), torch.nan)}
        sums = self.distances(images).sum(dim=1, keepdim=True)
        return {"diversity": (sums / (len(images) - 1)).float()}

    @exact()
    def distances(self, images: Tensor) -> Tensor:
        """LPIPS of every pair: float32 [n, 3, 256, 256] -> float64 [n, n], symmetric.

        Images are compared block by block, so memory does not grow with n.
        """
        result = torch.zeros(len(images), len(images), dtype=torch.float64)
        for row in range(0, len(images), _BLOCK):
            first = list(self._activations(images[row : row + _BLOCK]))
            for column in range(row, len(images), _BLOCK):
                second = first
                if column != row:
                    second = list(self._activations(images[column : column + _BLOCK]))
                result[row : row + _BLOCK, column : column + _BLOCK] = self._between(first, second)
        upper = result.triu(1)
        return upper + upper.T

    def _between(self, first: list[Tensor], second: list[Tensor]) -> Tensor:
        """Distances between the images of two blocks, from their activations: float64 [a, b]."""
        size = len(first[0]), len(second[0])
        result = torch.zeros(size, dtype=torch.float64, device=self.device)
        for head, left, right in zip(self.heads, first, second, strict=True):
            for row, image in enumerate(left):
                # Within one block, only the pairs above the diagonal.
                for column in range(row + 1 if first is second else 0, len(right)):
                    weighted = conv2d((image - right[column])[None] ** 2, head)
                    result[row, column] += weighted.mean(dtype=torch.float64)
        return result.cpu()

    def _activations(self, images: Tensor) -> Iterator[Tensor]:
        """The five normalised activations of images in [0, 255]: [n, channels, h, w] each."""
        shift, scale = per_channel(_SHIFT, self.device), per_channel(_SCALE, self.device)
        batches = [
            _channels_last((part.to(self.device) / 127.5 - 1 - shift) / scale)
            for part in images.split(_CPU_BATCH if self.device.type == "cpu" else _BLOCK)
        ]
        for index, numbers in enumerate(_SLICES):
            batches = [self._slice(x, numbers, pooled=index > 0) for x in batches]
            yield torch.cat(
                [x / (x.square().sum(dim=1, keepdim=True).sqrt() + _EPS) for x in batches]
            )

    def _slice(self, x: Tensor, numbers: tuple[int, ...], pooled: bool) -> Tensor:
        x = max_pool2d(x, 2) if pooled else x
        for number in numbers:
            x = relu(conv2d(x, self.kernels[number], self.biases[number], padding=1))
        return x


def _channels_last(tensor: Tensor) -> Tensor:
    """The layout in which convolutions are about 20% faster on a CPU."""
    return tensor.contiguous(memory_format=torch.channels_last)


def load(*, device: str = "auto", trunk: str = "", heads: str = "", fetch: bool = True) -> Lpips:
    """LPIPS with VGG16 in the convention of torch-fidelity, for diversity within a prompt."""
    if trunk and heads:
        files = [Path(trunk), Path(heads)]
        for file in files:
            if not file.is_file():
                raise EvalkitError(
                    f"There is no weights file {file}.", "Check the path.", code="encoders-14"
                )
        digests = [weights.sha256_of(file) for file in files]
    else:
        items, files = zip(*weights.obtain(Lpips.name, fetch), strict=True)
        digests = [item.sha256 for item in items]
    tensors = [weights.read_tensors(file) for file in files]
    digest = "".join(digest[:8] for digest in digests)
    return Lpips(tensors[0], tensors[1], digest, device_of(device))
