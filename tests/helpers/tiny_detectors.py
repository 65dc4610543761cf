"""OWLv2 and Grounding DINO of random weights, saved as folders."""

from __future__ import annotations

from pathlib import Path

import torch

from evalkit.encoders import clip_model
from evalkit.prompts.geneval import CLASSES

SIDE = 64  # pixels of OWLv2


def save_owlv2(folder: Path) -> Path:
    """An OWLv2 with an 8 x 8 grid of boxes."""
    from transformers import (
        Owlv2Config,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessorPil,
        Owlv2Processor,
    )

    layers = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    config = Owlv2Config(
        text_config={**layers, "num_attention_heads": 2, "initializer_range": 1.0},
        vision_config={
            **layers, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 8,
            "initializer_range": 0.5,
        },
        projection_dim=32,
    )  # fmt: skip
    torch.manual_seed(0)
    network = Owlv2ForObjectDetection(config).eval()
    with torch.no_grad():  # scores that are not all alike
        network.class_head.dense0.weight.mul_(20)
        network.class_head.logit_scale.bias.fill_(10.0)
        network.class_head.logit_shift.bias.fill_(-2.0)
    network.save_pretrained(folder)
    images = Owlv2ImageProcessorPil(size={"height": SIDE, "width": SIDE})
    tokenizer = clip_model.tokenizer()
    tokenizer.model_max_length, tokenizer.pad_token = 16, "!"
    Owlv2Processor(images, tokenizer).save_pretrained(folder)
    return folder


def save_grounding_dino(folder: Path) -> Path:
    """A Grounding DINO with the words of GenEval's classes."""
    from transformers import (
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessorPil,
        GroundingDinoProcessor,
    )

    words = sorted({word for name in CLASSES for word in name.split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *words]
    ids = {word: number for number, word in enumerate(vocabulary)}
    tokenizer = BertTokenizer(vocab=ids)
    config = GroundingDinoConfig(
        backbone_config={
            "model_type": "swin", "embed_dim": 8, "depths": [1, 1, 1, 1], "image_size": 64,
            "num_heads": [1, 1, 2, 2], "window_size": 2, "out_indices": [2, 3, 4],
        },
        text_config={
            "model_type": "bert", "vocab_size": len(vocabulary), "hidden_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
        },
        num_queries=12, d_model=32, encoder_layers=1, encoder_ffn_dim=16, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, decoder_ffn_dim=16,
        num_feature_levels=4, max_text_len=64, disable_custom_kernels=True, init_std=0.15,
    )  # fmt: skip
    torch.manual_seed(0)
    GroundingDinoForObjectDetection(config).eval().save_pretrained(folder)
    images = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    return folder
