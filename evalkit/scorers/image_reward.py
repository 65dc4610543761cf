"""ImageReward: how well people rate an image of its prompt (Xu et al. 2023,
https://arxiv.org/abs/2304.05977).

BLIP's text encoder reads the prompt while it attends to the features of an image (ViT-L/16 at 224
pixels). Its first feature goes through five linear layers, and the result is standardised by mean
and deviation of the training set. Preprocessing and constants are those of the package
`image-reward` 1.5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from evalkit.encoders.clip import DEVIATION, MEAN, PaperClip
from evalkit.encoders.inputs import normalised, resize_shorter, rounded_crop
from evalkit.encoders.weights import read_tensors
from evalkit.images import to_tensor
from evalkit.scorer import Scorer
from evalkit.scorers.rewards import Reward, affine, lacking

_NAME = "image_reward"
_CONTEXT = 35  # tokens, [CLS] and [SEP] among them
_MEAN, _DEVIATION = 0.16717362830052426, 1.0333394966054072
_HEAD = 64  # the width of an attention head in both towers
_CPU_BATCH = 8
# Names in the published file, and in transformers' BlipVisionModel.
_NAMES = (
    (r"cls_token$", "embeddings.class_embedding"),
    (r"pos_embed$", "embeddings.position_embedding"),
    (r"patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"blocks\.(\d+)\.norm1\.", r"encoder.layers.\1.layer_norm1."),
    (r"blocks\.(\d+)\.norm2\.", r"encoder.layers.\1.layer_norm2."),
    (r"blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.\1.self_attn.qkv."),
    (r"blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
    (r"blocks\.(\d+)\.mlp\.", r"encoder.layers.\1.mlp."),
    (r"norm\.", "post_layernorm."),
)


class ImageReward(Reward):
    """The standardised reward, of about -2 to 2."""

    def __init__(self, *, device: str = "auto") -> None:
        super().__init__(_NAME, "image-reward-v1.0", PaperClip.preprocessing, device)

    @cached_property
    def _networks(self) -> tuple[Any, Any, tuple[Tensor, Tensor]]:
        """The image tower, the text tower, and the head."""
        state = read_tensors(self.files[0])
        towers = build(state)
        ready = [one.to(self.device).eval().requires_grad_(False) for one in towers]
        return ready[0], ready[1], affine(_below("mlp.", state))

    @cached_property
    def _tokenizer(self) -> Any:
        return tokenizer(self.files[1])

    def rewards(self, images: Sequence[Image], prompts: Sequence[str]) -> Tensor:
        vision, reader, (weight, bias) = self._networks
        size = vision.config.image_size
        pixels = torch.stack(
            [to_tensor(rounded_crop(resize_shorter(image, size), size)) for image in images]
        )
        text = self._tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=_CONTEXT,
            return_tensors="pt",
        ).to(self.device)  # fmt: skip
        found, start = [], 0
        for part in normalised(pixels, MEAN, DEVIATION, self.device, _CPU_BATCH):
            rows = slice(start, start := start + len(part))
            seen = vision(pixel_values=part).last_hidden_state
            read = reader(
                input_ids=text["input_ids"][rows],
                attention_mask=text["attention_mask"][rows],
                encoder_hidden_states=seen,
                encoder_attention_mask=torch.ones(seen.shape[:2], device=self.device),
            )
            found.append(read.last_hidden_state[:, 0].double().cpu())
        return (torch.cat(found) @ weight + bias - _MEAN) / _DEVIATION

    def truncated(self, prompts: Sequence[str]) -> int:
        """The number of prompts that are longer than 35 tokens."""
        rows = self._tokenizer(list(prompts), verbose=False)["input_ids"]
        return sum(len(row) > _CONTEXT for row in rows)


def tokenizer(vocabulary: Path) -> Any:
    """BERT's uncased tokenizer with the words of this file, one per line."""
    from transformers import BertTokenizer

    words = vocabulary.read_text("utf-8").split("\n")
    return BertTokenizer(vocab={word: number for number, word in enumerate(words) if word})


def build(state: dict[str, Tensor]) -> tuple[Any, Any]:
    """transformers' BlipVisionModel and BlipTextModel with the weights of the published file.

    All sizes follow from the shapes.
    """
    from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

    image = {
        re.sub(f"^{old}", new, name): tensor
        for name, tensor in _below("blip.visual_encoder.", state).items()
        for old, new in _NAMES
        if re.match(old, name)
    }
    text = _below("blip.text_encoder.", state)
    patches = image["embeddings.patch_embedding.weight"]  # [width, 3, P, P]
    positions = image["embeddings.position_embedding"].shape[1]
    words = text["embeddings.word_embeddings.weight"]  # [vocabulary, width]
    vision = BlipVisionModel(
        BlipVisionConfig(
            hidden_size=len(patches),
            intermediate_size=len(image["encoder.layers.0.mlp.fc1.weight"]),
            num_hidden_layers=_layers(image),
            num_attention_heads=len(patches) // _HEAD,
            image_size=round((positions - 1) ** 0.5) * patches.shape[-1],
            patch_size=patches.shape[-1],
            hidden_act="gelu",
            layer_norm_eps=1e-6,
        )
    )
    reader = BlipTextModel(
        BlipTextConfig(
            vocab_size=len(words),
            hidden_size=words.shape[1],
            encoder_hidden_size=len(patches),
            intermediate_size=len(text["encoder.layer.0.intermediate.dense.weight"]),
            num_hidden_layers=_layers(text),
            num_attention_heads=words.shape[1] // _HEAD,
            max_position_embeddings=len(text["embeddings.position_embeddings.weight"]),
            hidden_act="gelu",
            layer_norm_eps=1e-12,
            bos_token_id=None,  # for captions only
        ),
        add_pooling_layer=False,
    )
    for network, tensors in ((vision, image), (reader, text)):
        network.load_state_dict({name: tensors[name] for name in network.state_dict()})
    return vision, reader


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


def _layers(state: dict[str, Tensor]) -> int:
    return len({name.split(".")[2] for name in state if name.startswith("encoder.layer")})


IMAGE_REWARD = Scorer(
    _NAME,
    "higher",
    load=ImageReward,
    title="ImageReward",
    question="How would people rate the images of the prompt?",
    meaning="Rating of an image of its prompt, as predicted by ImageReward; 0 is its mean.",
    paper="https://arxiv.org/abs/2304.05977",
    missing=partial(lacking, _NAME),
)
