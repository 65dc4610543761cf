"""A Qwen2.5-VL of random weights with a vocabulary of words, saved as a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

SPECIAL = (
    *("<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
)
WORDS = (
    *("Yes", "yes", "No", "no", "one", "two", "Two", "three", "2", "3", "red", "Red", "dog", "cat"),
    *("Is", "Are", "Does", "How", "many", "there", "this", "a", "the", "show", "figure", "image"),
    *("Please", "Answer", "answer", "in", "word", "or", "with", "scene", "on", "grass", "circle"),
    *(".", "?", '"', "user", "assistant", "dogs", "are", "Question", "exactly", "black", "night"),
)
TEMPLATE = (
    "{% for message in messages %}<|im_start|> {{ message['role'] }} {% for part in"
    " message['content'] %}{% if part['type'] == 'image' %}<|vision_start|><|image_pad|>"
    "<|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
)


def tokenizer(words: tuple[str, ...] = WORDS) -> Any:
    """Each word is a token; a blank before it makes no difference."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *words))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=list(SPECIAL[2:]),
    )


def save(folder: Path, words: tuple[str, ...] = WORDS, penalty: float = 1.0) -> Path:
    """A model, its processor and its chat template, about 200 kB.

    penalty: the repetition penalty of its generation_config.json.
    """
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    text = tokenizer(words)
    ids = {name: text.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad")}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(text), "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 512, "initializer_range": 0.3, "pad_token_id": 1,
            "eos_token_id": 3, "bos_token_id": 1,
            "rope_parameters": {
                "rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0,
            },
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 4, "spatial_merge_size": 2, "window_size": 16,
            "fullatt_block_indexes": [1], "initializer_range": 0.3,
        },
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=text.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=text.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=False,
    )  # fmt: skip
    sizes = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    limits = {"size": {"shortest_edge": 16 * 16, "longest_edge": 48 * 48}}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**sizes, **limits),
        tokenizer=text,
        video_processor=Qwen2VLVideoProcessor(**sizes),
        chat_template=TEMPLATE,
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    model.generation_config.repetition_penalty = penalty
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
