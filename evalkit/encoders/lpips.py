"""LPIPS v0.1 with VGG16 (Zhang et al. 2018, https://arxiv.org/abs/1801.03924): how far the images
of one prompt lie apart.

Convention of torch-fidelity's `lpips-vgg16` at 256 pixels: resized by area where both sides are
larger, else bilinear (align_corners=False), not rounded; scaled to [-1, 1] and by the paper's shift
and scale; five layers of torchvision's VGG16, each normalised over its channels, their squared
differences weighted by the published heads, averaged over the picture, summed.
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
from evalkit.images import to_tensor
from evalkit.models.load import device_of

SIZE = 256
PREPROCESSING = f"area-or-bilinear-{SIZE}-1"
# Convolutions of VGG16 by their numbers in torchvision, one line a slice; LPIPS reads the last
# activation of each slice.
_SLICES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_CHANNELS = (64, 128, 256, 512, 512)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPS = 1e-10
_BLOCK = 16  # images whose activations are held at once: 35 MB each
_CPU_BATCH = 4


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
                number: _fast(trunk[f"features.{number}.weight"].to(self.device))
                for number in numbers
            }
            self.biases = {
                number: trunk[f"features.{number}.bias"].to(self.device) for number in numbers
            }
            self.heads = [
                heads[f"lin{place}.model.1.weight"].to(self.device) for place in range(len(_SLICES))
            ]  # [1, channels, 1, 1]
        except KeyError as error:
            raise EvalkitError(
                f"The weights are not those of LPIPS with VGG16: {error} is missing.",
                "Expected the pinned files.",
            ) from error
        found = [
            (len(self.kernels[part[-1]]), head.shape[1])
            for part, head in zip(_SLICES, self.heads, strict=True)
        ]
        if found != [(count, count) for count in _CHANNELS]:
            raise EvalkitError(
                "The weights are not those of LPIPS with VGG16: shapes differ.",
                "Expected the pinned files.",
            )

    def prepare(self, image: Image) -> Tensor:
        """RGB image of any size -> float32 [3, 256, 256] in [0, 255]."""
        pixels = to_tensor(image)[None].float()
        if min(image.size) > SIZE:
            return interpolate(pixels, (SIZE, SIZE), mode="area")[0]
        return interpolate(pixels, (SIZE, SIZE), mode="bilinear", align_corners=False)[0]

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """float32 [n, 3, 256, 256], the images of one prompt -> {"diversity": float32 [n, 1]}; NaN
        for an image that is alone.
        """
        if images.dtype != torch.float32 or images.shape[1:] != (3, SIZE, SIZE):
            raise ValueError(
                f"images are {images.dtype} {tuple(images.shape)}; expected float32 [n, 3, {SIZE}, {SIZE}]"
            )
        if len(images) < 2:  # the usual case of one image per prompt costs nothing
            return {"diversity": torch.full((len(images), 1), torch.nan)}
        return {
            "diversity": (
                self.distances(images).sum(dim=1, keepdim=True) / (len(images) - 1)
            ).float()
        }

    def distances(self, images: Tensor) -> Tensor:
        """LPIPS of every pair: float32 [n, 3, 256, 256] -> float64 [n, n], symmetric, with zeros on
        the diagonal.

        Blocks of images are compared with each other, so that memory does not grow with n.
        """
        result = torch.zeros(len(images), len(images), dtype=torch.float64)
        starts = range(0, len(images), _BLOCK)
        for row in starts:
            ours = list(self._activations(images[row : row + _BLOCK]))
            for column in (start for start in starts if start >= row):
                theirs = (
                    ours
                    if column == row
                    else list(self._activations(images[column : column + _BLOCK]))
                )
                result[row : row + _BLOCK, column : column + _BLOCK] = self._between(ours, theirs)
        upper = result.triu(1)
        return upper + upper.T

    def _between(self, ours: list[Tensor], theirs: list[Tensor]) -> Tensor:
        """Distances between two lists of activations, layer by layer: float64 [a, b]."""
        result = torch.zeros(len(ours[0]), len(theirs[0]), dtype=torch.float64)
        for head, left, right in zip(self.heads, ours, theirs, strict=True):
            for place, image in enumerate(left):
                for other, image_of_theirs in enumerate(right):
                    if ours is theirs and other <= place:
                        continue
                    weighted = conv2d((image - image_of_theirs)[None] ** 2, head)
                    result[place, other] += weighted.mean(dtype=torch.float64).cpu()
        return result

    def _activations(self, images: Tensor) -> Iterator[Tensor]:
        """The five normalised activations of images in [0, 255]: [n, channels, h, w] each."""
        shift, scale = (
            torch.tensor(values, device=self.device).view(3, 1, 1) for values in (_SHIFT, _SCALE)
        )
        parts = images.split(_CPU_BATCH if self.device.type == "cpu" else _BLOCK)
        states = [_fast((part.to(self.device) / 127.5 - 1 - shift) / scale) for part in parts]
        for place, numbers in enumerate(_SLICES):
            with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
                states = [self._slice(state, numbers, pooled=place > 0) for state in states]
            yield torch.cat(
                [
                    state / (state.square().sum(dim=1, keepdim=True).sqrt() + _EPS)
                    for state in states
                ]
            )

    def _slice(self, state: Tensor, numbers: tuple[int, ...], pooled: bool) -> Tensor:
        state = max_pool2d(state, 2) if pooled else state
        for number in numbers:
            state = relu(conv2d(state, self.kernels[number], self.biases[number], padding=1))
        return state


def _fast(tensor: Tensor) -> Tensor:
    """Channels-last, which makes the convolutions a fifth faster on a CPU."""
    return tensor.contiguous(memory_format=torch.channels_last)


def load(*, device: str = "auto", trunk: str = "", heads: str = "", fetch: bool = True) -> Lpips:
    """LPIPS with VGG16 in the convention of torch-fidelity: diversity within a prompt."""
    if trunk and heads:
        files = [Path(trunk), Path(heads)]
        for file in files:
            if not file.is_file():
                raise EvalkitError(f"There is no weights file {file}.", "Check the path.")
    else:
        files = [path for _, path in weights.obtain(Lpips.name, fetch)]
    digests = "".join(weights.verify(file, "")[:8] for file in files)  # of trunk and heads
    return Lpips(
        weights.read_tensors(files[0]), weights.read_tensors(files[1]), digests, device_of(device)
    )
