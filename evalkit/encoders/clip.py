"""CLIP through transformers: images and prompts in one space (Radford et al. 2021,
https://arxiv.org/abs/2103.00020).

Preprocessing of the paper: the shorter side is resized to the network's size (PIL bicubic, rounded
to uint8), then the centre is cropped and CLIP's mean and deviation are applied. Two crops are in
use, which differ by a row or column where 3, 7, 11, ... of them are left out: that of transformers,
which most numbers come from, and that of OpenAI's code, which the code of the CLIP score paper
calls (`clip-b32-openai`). CMMD (Jayasumana et al. 2024, https://arxiv.org/abs/2401.09603) crops
first and resizes afterwards. These differ at the borders of images that are not square, so each is
an encoder of its own.

A prompt that is cut to the context length keeps its end token, because the network reads the text
feature there.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from PIL.Image import Image, Resampling
from torch import Tensor

from evalkit.core import EncoderKind, EvalkitError, Precision
from evalkit.encoders import clip_model, weights
from evalkit.encoders.inputs import (
    centre_crop,
    check,
    exact,
    in_its_precision,
    normalised,
    resize_shorter,
    rounded_crop,
)
from evalkit.images import to_tensor
from evalkit.models.load import device_of

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CPU_BATCH, _TEXT_BATCH = 8, 64


class Clip:
    """Image to "pool" features and text to features of the same space; neither is normalised."""

    kind: EncoderKind = "clip"
    precision: Precision = "exact"  # of images; prompts are always exact
    preprocessing = "pil-bicubic-crop-1"
    prepared = torch.uint8  # the type of what `prepare` returns

    def __init__(
        self,
        name: str,
        state: dict[str, Tensor],
        device: str = "cpu",
        activation: str = "quick_gelu",
        image_head: int = clip_model.HEAD,
    ) -> None:
        self.name = name
        self.device = torch.device(device)
        model = clip_model.build(state, activation, image_head)
        self.model = model.to(self.device).eval().requires_grad_(False)
        self.tokenizer = clip_model.tokenizer()
        self.size: int = self.model.config.vision_config.image_size
        self.context: int = self.model.config.text_config.max_position_embeddings
        self.fingerprint = f"{clip_model.digest(state)}/{self.preprocessing}-{self.size}"

    def prepare(self, image: Image) -> Tensor:
        """RGB image of any size -> uint8 [3, S, S]: shorter side resized to S, then cropped."""
        return to_tensor(centre_crop(resize_shorter(image, self.size), self.size))

    @in_its_precision
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 [N, 3, S, S] -> {"pool": float32 [N, D]}, on the encoder's device."""
        check(images, self.prepared, self.size)
        pools = []
        for pixels in normalised(images, MEAN, DEVIATION, self.device, _CPU_BATCH):
            output = self.model.vision_model(pixel_values=pixels).pooler_output
            pools.append(self.model.visual_projection(output).float())
        return {"pool": torch.cat(pools)}

    @exact()
    def text(self, prompts: Sequence[str]) -> Tensor:
        """Prompts -> float32 [N, D], on the CPU."""
        features, tokens = [], clip_model.tokens(self.tokenizer, prompts)
        for start in range(0, len(tokens), _TEXT_BATCH):
            rows = [self._cut(row) for row in tokens[start : start + _TEXT_BATCH]]
            length = max(map(len, rows))
            # Padding needs no mask: attention is causal, and the first end token is read.
            padded = [row + [row[-1]] * (length - len(row)) for row in rows]
            ids = torch.tensor(padded, device=self.device)
            output = self.model.text_model(input_ids=ids).pooler_output
            features.append(self.model.text_projection(output).float().cpu())
        return torch.cat(features)

    def truncated(self, prompts: Sequence[str]) -> int:
        """The number of prompts that are longer than the context of 77 tokens."""
        rows = clip_model.tokens(self.tokenizer, prompts)
        return sum(len(row) > self.context for row in rows)

    def _cut(self, row: list[int]) -> list[int]:
        return row if len(row) <= self.context else [*row[: self.context - 1], row[-1]]


class PaperClip(Clip):
    """CLIP with the preprocessing of OpenAI's code, which that of the CLIP score paper calls."""

    kind: EncoderKind = "clip-paper"
    preprocessing = "pil-bicubic-rounded-crop-1"

    def prepare(self, image: Image) -> Tensor:
        """RGB image of any size -> uint8 [3, S, S]: shorter side resized to S, then cropped."""
        return to_tensor(rounded_crop(resize_shorter(image, self.size), self.size))


class CmmdClip(Clip):
    """CLIP with CMMD's preprocessing: the centre square is cropped first, then resized."""

    kind: EncoderKind = "clip-large"
    preprocessing = "crop-pil-bicubic-1"

    def prepare(self, image: Image) -> Tensor:
        """RGB image of any size -> uint8 [3, S, S]: cropped, then resized."""
        square = centre_crop(image, min(image.size))
        return to_tensor(square.resize((self.size, self.size), Resampling.BICUBIC))


def load_b32(*, device: str = "auto", path: str = "", fetch: bool = True) -> Clip:
    """CLIP ViT-B/32 of OpenAI, with the preprocessing of transformers (512 dimensions)."""
    return _load(Clip, "clip-b32", device, path, fetch)


def load_b32_openai(*, device: str = "auto", path: str = "", fetch: bool = True) -> Clip:
    """CLIP ViT-B/32 of OpenAI with the preprocessing of its own code, as in the CLIP score paper
    (512 dimensions).
    """
    return _load(PaperClip, "clip-b32-openai", device, path, fetch)


def load_b16(*, device: str = "auto", path: str = "", fetch: bool = True) -> Clip:
    """CLIP ViT-B/16 of OpenAI (512 dimensions)."""
    return _load(Clip, "clip-b16", device, path, fetch)


def load_l14(*, device: str = "auto", path: str = "", fetch: bool = True) -> Clip:
    """CLIP ViT-L/14 of OpenAI (768 dimensions)."""
    return _load(Clip, "clip-l14", device, path, fetch)


def load_l14_336(*, device: str = "auto", path: str = "", fetch: bool = True) -> Clip:
    """CLIP ViT-L/14 of OpenAI at 336 pixels, with CLIP's own preprocessing (768 dimensions)."""
    return _load(Clip, "clip-l14-336", device, path, fetch)


def load_cmmd(*, device: str = "auto", path: str = "", fetch: bool = True) -> Clip:
    """CLIP ViT-L/14 of OpenAI at 336 pixels, with the preprocessing of CMMD (768 dimensions)."""
    return _load(CmmdClip, "clip-l14-336-cmmd", device, path, fetch)


def _load(encoder: type[Clip], name: str, device: str, path: str, fetch: bool) -> Clip:
    """From a file, or a folder that transformers saved; without a path from the pinned weights."""
    if find_spec("transformers") is None:
        raise EvalkitError(
            f"The encoder {name!r} needs transformers, which is not installed.",
            "Run `pip install transformers`.",
            code="encoders-1",
        )
    if path:
        names = ("", "model.safetensors", "pytorch_model.bin")
        file = next((found for name in names if (found := Path(path) / name).is_file()), None)
        if file is None:
            raise EvalkitError(
                f"There is no CLIP model in {path}.",
                "Give a file of weights, or a folder with model.safetensors.",
                code="encoders-2",
            )
    else:
        [(_, file)] = weights.obtain(name, fetch)
    return encoder(name, clip_model.read_state(file), device_of(device))
