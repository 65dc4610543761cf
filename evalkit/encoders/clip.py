"""CLIP through transformers: pictures and prompts in one space (Radford et al. 2021, https://arxiv.org/abs/2103.00020).

Preprocessing of the paper: shorter side to 224 (PIL bicubic, rounded to uint8), centre crop, CLIP's mean and deviation.
A prompt longer than the context keeps its end token: the network reads the feature there, so a tool that cuts it off gives
every long prompt the same feature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image, Resampling
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.encoders import weights
from evalkit.images import to_tensor
from evalkit.models.load import device_of

SOURCES = {"clip-b32": "openai/clip-vit-base-patch32", "clip-l14": "openai/clip-vit-large-patch14"}
PREPROCESSING = "pil-bicubic-crop-1"
_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CPU_BATCH, _TEXTS = 8, 64


class Clip:
    """Image to "pool" features and text to features of the same space; neither is normalised."""

    def __init__(self, name: str, model: Any, tokenizer: Any, device: str = "cpu") -> None:
        self.name = name
        self.size: int = model.config.vision_config.image_size
        self.fingerprint = f"{_digest(model)}/{PREPROCESSING}-{self.size}"
        self.device = torch.device(device)
        self.model, self.tokenizer = model.to(self.device).eval().requires_grad_(False), tokenizer
        self.context: int = model.config.text_config.max_position_embeddings

    def prepare(self, image: Image) -> Tensor:
        """RGB image of any size -> uint8 [3, S, S]."""
        short = min(image.size)
        width, height = (self.size if side == short else int(self.size * side / short) for side in image.size)
        resized = image.resize((width, height), Resampling.BICUBIC)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        return to_tensor(resized.crop((left, top, left + self.size, top + self.size)))

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 [N, 3, S, S] -> {"pool": float32 [N, D]}, on the CPU."""
        if images.dtype != torch.uint8 or images.shape[1:] != (3, self.size, self.size):
            raise ValueError(f"images are {images.dtype} {tuple(images.shape)}; expected uint8 [N, 3, {self.size}, {self.size}]")
        mean, deviation = (torch.tensor(values, device=self.device).view(3, 1, 1) for values in (_MEAN, _DEVIATION))
        pools = []
        for part in images.split(_CPU_BATCH if self.device.type == "cpu" else len(images)):
            with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
                seen = self.model.vision_model(pixel_values=(part.to(self.device) / 255 - mean) / deviation)
                pools.append(self.model.visual_projection(seen.pooler_output).float().cpu())
        return {"pool": torch.cat(pools)}

    @torch.inference_mode()
    def text(self, prompts: Sequence[str]) -> Tensor:
        """Prompts -> float32 [N, D], on the CPU."""
        features, tokens = [], self._tokens(prompts)
        for start in range(0, len(tokens), _TEXTS):
            rows = [self._cut(row) for row in tokens[start : start + _TEXTS]]
            length = max(map(len, rows))
            ids = torch.tensor([row + [row[-1]] * (length - len(row)) for row in rows], device=self.device)
            read = self.model.text_model(input_ids=ids)  # causal: what follows the first end token changes nothing
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


def load_b32(*, device: str = "auto", path: str = "", fetch: bool = True) -> Clip:
    """CLIP ViT-B/32 of OpenAI, from a folder, from the cache of Hugging Face, or fetched where that is allowed."""
    return _load("clip-b32", device, path, fetch)


def load_l14(*, device: str = "auto", path: str = "", fetch: bool = True) -> Clip:
    """CLIP ViT-L/14 of OpenAI, from a folder, from the cache of Hugging Face, or fetched where that is allowed."""
    return _load("clip-l14", device, path, fetch)


def in_cache(name: str) -> bool:
    """Whether the weights and the tokenizer are in the cache of Hugging Face; False without transformers."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ModuleNotFoundError:
        return False

    def has(file: str) -> bool:
        return isinstance(try_to_load_from_cache(SOURCES[name], file), str)

    return has("config.json") and (has("model.safetensors") or has("pytorch_model.bin")) and (has("tokenizer.json") or has("vocab.json"))


def server() -> str:
    """The address that weights would be fetched from; "" where transformers is missing or told to stay offline."""
    try:
        from huggingface_hub import constants
    except ModuleNotFoundError:
        return ""
    return "" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT}/{SOURCES['clip-b32']}/resolve/main/config.json"


def _load(name: str, device: str, path: str, fetch: bool) -> Clip:
    try:
        from transformers import CLIPModel, CLIPTokenizer
        from transformers.utils import logging
    except ModuleNotFoundError as error:
        raise EvalkitError(
            f"The encoder {name!r} needs transformers, which is not installed.", "Type `pip install transformers`."
        ) from error
    if path and not (Path(path) / "config.json").is_file():
        raise EvalkitError(f"There is no CLIP model in {path}.", "Expected a folder with config.json, weights and tokenizer.")
    offline = bool(path) or in_cache(name)
    if not offline and not (fetch and weights.reachable(server())):
        why = "its server cannot be reached" if fetch else "fetching is not allowed"
        raise EvalkitError(f"The weights of {name!r} ({SOURCES[name]}) are in no cache and {why}.", "Use `--encoders mini`.")
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        source = path or SOURCES[name]
        model = CLIPModel.from_pretrained(source, local_files_only=offline).float()
        tokenizer = CLIPTokenizer.from_pretrained(source, local_files_only=offline)
    except (OSError, RuntimeError, ValueError) as error:
        raise EvalkitError(
            f"The weights of {name!r} could not be loaded: {str(error).splitlines()[0]}", "Use `--encoders mini`."
        ) from error
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
    return Clip(name, model, tokenizer, device_of(device))


def _digest(model: Any) -> str:
    """SHA-256 of all tensors by name, 16 digits: the same for every file format."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
