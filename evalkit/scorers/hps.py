"""HPS v2: which image of a prompt people prefer (Wu et al. 2023, https://arxiv.org/abs/2306.09341).

A CLIP ViT-H/14 that was trained on rankings of people. The preprocessing is that of its own code,
`hpsv2` 1.2: the longer side is resized to 224 as a float tensor, which is neither rounded nor
clipped, and black bars fill the square. No part of an image is cropped. The code leaves
antialiasing to torchvision, which has it for tensors from 0.17 on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from evalkit.encoders.clip import Clip
from evalkit.images import to_tensor
from evalkit.scorer import Scorer
from evalkit.scorers.rewards import ClipReward, lacking

_FACTORS = {"cosine-x100": lambda scale: 100.0, "cosine": lambda scale: 1.0}


class Letterboxed(Clip):
    """CLIP on whole images between black bars."""

    preprocessing = "float-bicubic-black-bars-1"
    prepared = torch.float32
    antialias = True

    def prepare(self, image: Image) -> Tensor:
        """RGB image of any size -> float32 [3, S, S], of about 0 to 255."""
        pixels, scale = to_tensor(image).float(), self.size / max(image.size)
        if scale != 1:
            size = [max(1, round(side * scale)) for side in (image.height, image.width)]
            pixels = interpolate(pixels[None], size, mode="bicubic", antialias=self.antialias)[0]
        rows, columns = (self.size - side for side in pixels.shape[1:])
        left, top = columns // 2, rows // 2
        return pad(pixels, [left, columns - left, top, rows - top])


class Aliased(Letterboxed):
    """The same without antialiasing."""

    preprocessing = "float-bicubic-aliased-black-bars-1"
    antialias = False


def load_v2(
    *, convention: str = "cosine-x100", antialias: bool = True, device: str = "auto"
) -> ClipReward:
    """HPS v2.0, as "cosine-x100" or "cosine"."""
    return _load("hpsv2", "hpsv2.0", convention, antialias, device)


def load_v2_1(
    *, convention: str = "cosine-x100", antialias: bool = True, device: str = "auto"
) -> ClipReward:
    """HPS v2.1, as "cosine-x100" or "cosine"; its values are not comparable with those of v2.0."""
    return _load("hpsv2.1", "hpsv2.1", convention, antialias, device)


def _load(scorer: str, version: str, convention: str, antialias: bool, device: str) -> ClipReward:
    if antialias:
        return ClipReward(scorer, version, convention, _FACTORS, Letterboxed, device)
    return ClipReward(scorer, f"{version}-aliased", convention, _FACTORS, Aliased, device)


def _scorer(name: str, version: str, load: Callable[..., ClipReward]) -> Scorer:
    return Scorer(
        name,
        "higher",
        load=load,
        title=f"HPS {version}",
        question="Which images do people prefer for the prompt?",
        meaning=f"Preference of people for an image of its prompt, as predicted by HPS {version}.",
        paper="https://arxiv.org/abs/2306.09341",
        range=(-100.0, 100.0),
        missing=partial(lacking, name),
    )


HPSV2 = _scorer("hpsv2", "v2.0", load_v2)
HPSV2_1 = _scorer("hpsv2.1", "v2.1", load_v2_1)
