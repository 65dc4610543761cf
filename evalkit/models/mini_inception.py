"""The small classifier of the bundled data set: which objects stand where, their colours, and the
background.

Its pooled features and logits serve `mini-inception` (FID, IS and related metrics); networks with
other seeds and widths are the judge and the feature network of the trainings. It is trained on
dense targets, the class of every cell of an 8 x 8 grid: training on global labels alone failed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRID = 8  # cells per side


class Predictions(NamedTuple):
    pool: Tensor  # float32 [N, 8 * width], the features for FID
    logits: Tensor  # float32 [N, nouns], of the whole image
    nouns: Tensor  # float32 [N, nouns + 1, 8, 8], of the object centred in the cell; last: none
    colours: Tensor  # float32 [N, colours, 8, 8]
    backgrounds: Tensor  # float32 [N, backgrounds]


class _ResidualBlock(nn.Module):
    """A residual block with batch normalisation (He et al. 2015); stride 2 halves the image."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        skip = F.avg_pool2d(x, self.stride) if self.stride > 1 else x
        return F.relu(self.path(x) + self.skip(skip))


class MiniInception(nn.Module):
    def __init__(self, nouns: int, colours: int, backgrounds: int, width: int = 24) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.middle = _ResidualBlock(width, 2 * width, 2)
        self.quarter = nn.Sequential(
            _ResidualBlock(2 * width, 4 * width, 2), _ResidualBlock(4 * width, 4 * width, 1)
        )
        self.eighth = _ResidualBlock(4 * width, 8 * width, 2)
        self.fine_channels, self.coarse_channels = 4 * width, 8 * width
        self.context = nn.Conv2d(8 * width, 4 * width, 1)  # the surroundings of every cell
        self.cells = nn.Sequential(nn.Conv2d(4 * width, 4 * width, 3, padding=1), nn.ReLU())
        self.nouns = nn.Conv2d(4 * width, nouns + 1, 1)
        self.colours = nn.Conv2d(4 * width, colours, 1)
        self.whole = nn.Linear(8 * width, nouns)
        self.backgrounds = nn.Linear(8 * width, backgrounds)

    def trunk(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """float [N, 3, 32, 32] in -1..1 -> maps [N, 4 * width, 8, 8] and [N, 8 * width, 4, 4]."""
        _, fine, coarse = self.maps(images)
        return fine, coarse

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The trunk's maps and the one before them: [N, 2 * width, 16, 16], [N, 4 * width, 8, 8]
        and [N, 8 * width, 4, 4].
        """
        middle = self.middle(self.stem(images))
        fine = self.quarter(middle)
        return middle, fine, self.eighth(fine)

    def forward(self, images: Tensor) -> Predictions:
        fine, coarse = self.trunk(images)
        pool = coarse.mean((2, 3))
        cells = self.cells(
            fine + F.interpolate(self.context(coarse), scale_factor=2, mode="nearest")
        )
        return Predictions(
            pool, self.whole(pool), self.nouns(cells), self.colours(cells), self.backgrounds(pool)
        )


class Detection(NamedTuple):
    noun: int
    colour: int
    x: int  # cell, 0..7
    y: int
    score: float


@torch.no_grad()
def detect(predictions: Predictions, threshold: float = 0.5) -> list[list[Detection]]:
    """The objects in every image, best first: local maxima, among 3 x 3 cells, of the probability
    that the cell holds an object.
    """
    probabilities = predictions.nouns.float().softmax(1)
    objectness = 1 - probabilities[:, -1]  # [N, 8, 8]
    peaks = (objectness >= threshold) & (
        objectness == F.max_pool2d(objectness[:, None], 3, 1, 1)[:, 0]
    )
    noun, colour = probabilities[:, :-1].argmax(1), predictions.colours.argmax(1)
    found: list[list[Detection]] = [[] for _ in range(len(probabilities))]
    for n, y, x in peaks.nonzero().tolist():
        found[n].append(
            Detection(int(noun[n, y, x]), int(colour[n, y, x]), x, y, float(objectness[n, y, x]))
        )
    return [sorted(detections, key=lambda each: -each.score) for detections in found]


def resize_to_32(images: Tensor) -> Tensor:
    """float [N, C, S, S] -> [N, C, 32, 32], the input size of the classifiers."""
    if images.shape[-1] == 32:
        return images
    if images.shape[-1] > 32:
        return F.interpolate(images, size=(32, 32), mode="area")
    return F.interpolate(images, size=(32, 32), mode="bilinear", align_corners=False)


def to_unit(images: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] -> float32 in -1..1, the input of all bundled networks."""
    return images.float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """float, clipped to -1..1 -> uint8 of the same shape: the inverse of `to_unit`."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte()
