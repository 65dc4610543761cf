"""CLIP through transformers: pictures and prompts in one space (Radford et al. 2021,
https://arxiv.org/abs/2103.00020).

Preprocessing of the paper: shorter side to the network's size (PIL bicubic, rounded to uint8),
centre crop, CLIP's mean and deviation. CMMD (Jayasumana et al. 2024,
https://arxiv.org/abs/2401.09603) crops first and resizes then, which differs at the borders of
pictures that are not square, hence an encoder of its own. A prompt longer than the context keeps
its end token: the network reads the feature there, so a tool that cuts it off gives every long
prompt the same feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from PIL.Image import Image, Resampling
from torch import Tensor

from evalkit.core import EncoderKind, EvalkitError
from evalkit.encoders import clip_model, weights
from evalkit.images import to_tensor
from evalkit.models.load import device_of

_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CPU_BATCH, _TEXTS = 8, 64


class Clip:
    """Image to "pool" features and text to features of the same space; neither is normalised."""

    kind: EncoderKind = "clip"
    preprocessing = "pil-bicubic-crop-1"

    def __init__(self, name: str, state: dict[str, Tensor], device: str = "cpu") -> None:
        model = clip_model.build(state)
        self.name = name
        self.size: int = model.config.vision_config.image_size
        self.fingerprint = f"{clip_model.digest(state)}/{self.preprocessing}-{self.size}"
        self.device = torch.device(device)
        self.model, self.tokenizer = (
            model.to(self.device).eval().requires_grad_(False),
            clip_model.tokenizer(),
        )
        self.context: int = model.config.text_config.max_position_embeddings

    def prepare(self, image: Image) -> Tensor:
        """RGB image of any size -> uint8 [3, S, S]: resized to the shorter side, then cropped."""
        short = min(image.size)
        width, height = (
            self.size if side == short else int(self.size * side / short) for side in image.size
        )
        resized = image.resize((width, height), Resampling.BICUBIC)
        return to_tensor(_centre(resized, self.size))

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 [N, 3, S, S] -> {"pool": float32 [N, D]}, on the CPU."""
        if images.dtype != torch.uint8 or images.shape[1:] != (3, self.size, self.size):
            raise ValueError(
                f"images are {images.dtype} {tuple(images.shape)}; expected uint8 [N, 3, {self.size}, {self.size}]"
            )
        mean, deviation = (
            torch.tensor(values, device=self.device).view(3, 1, 1) for values in (_MEAN, _DEVIATION)
        )
        pools = []
        for part in images.split(_CPU_BATCH if self.device.type == "cpu" else len(images)):
            with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
                seen = self.model.vision_model(
                    pixel_values=(part.to(self.device) / 255 - mean) / deviation
                )
                pools.append(self.model.visual_projection(seen.pooler_output).float().cpu())
        return {"pool": torch.cat(pools)}

    @torch.inference_mode()
    def text(self, prompts: Sequence[str]) -> Tensor:
        """Prompts -> float32 [N, D], on the CPU."""
        features, tokens = [], self._tokens(prompts)
        for start in range(0, len(tokens), _TEXTS):
            rows = [self._cut(row) for row in tokens[start : start + _TEXTS]]
            length = max(map(len, rows))
            ids = torch.tensor(
                [row + [row[-1]] * (length - len(row)) for row in rows], device=self.device
            )
            read = self.model.text_model(
                input_ids=ids
            )  # causal: what follows the first end token changes nothing
            features.append(self.model.text_projection(read.pooler_output).float().cpu())
        return torch.cat(features)

    def truncated(self, prompts: Sequence[str]) -> int:
        """How many of the prompts are longer than the context of 77 tokens."""
        return sum(len(row) > self.context for row in self._tokens(prompts))

    def _tokens(self, prompts: Sequence[str]) -> list[list[int]]:
        ids = self.tokenizer(list(prompts), add_special_tokens=False, verbose=False)["input_ids"]
        return [[self.tokenizer.bos_token_id, *row, self.tokenizer.eos_token_id] for row in ids]

    def _cut(self, row: list[int]) -> list[int]:
        return row if len(row) <= self.context else [*row[: self.context - 1], row[-1]]


class CmmdClip(Clip):
    """CLIP as CMMD sees it: the centre square is cut out first, then resized. Serves CMMD only."""

    kind: EncoderKind = "clip-large"
    preprocessing = "crop-pil-bicubic-1"

    def prepare(self, image: Image) -> Tensor:
        """RGB image of any size -> uint8 [3, S, S]: cropped, then resized."""
        return to_tensor(
            _centre(image, min(image.size)).resize((self.size, self.size), Resampling.BICUBIC)
        )


def _centre(image: Image, side: int) -> Image:
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def load_b32(*, device: str = "auto", path: str = "", fetch: bool = True) -> Clip:
    """CLIP ViT-B/32 of OpenAI: clip_score of the paper (512 dimensions)."""
    return _load(Clip, "clip-b32", device, path, fetch)


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


def _load(kind: type[Clip], name: str, device: str, path: str, fetch: bool) -> Clip:
    """From a given file, or a folder that transformers saved; else the pinned weights, from a cache
    or fetched.
    """
    if find_spec("transformers") is None:
        raise EvalkitError(
            f"The encoder {name!r} needs transformers, which is not installed.",
            "Type `pip install transformers`.",
        )
    if path:
        given = Path(path)
        places = (given, given / "model.safetensors", given / "pytorch_model.bin")
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise EvalkitError(
                f"There is no CLIP model in {path}.",
                "Expected a weights file, or a folder with model.safetensors.",
            )
    else:
        [(_, file)] = weights.obtain(name, fetch)
    return kind(name, clip_model.read_state(file), device_of(device))
