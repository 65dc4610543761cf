"""A tiny CLIP with seeded weights, saved and loaded through the real code, against transformers and torchmetrics' formula."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evalkit.core import EvalkitError
from evalkit.encoders import clip, weights

transformers = pytest.importorskip("transformers")
CONTEXT = 77


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of 224 pixels, context 77 and one layer a tower, with a letter tokenizer."""
    path = tmp_path_factory.mktemp("clip")
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocab = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (path / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(vocab)}))
    (path / "merges.txt").write_text("#version: 0.2\n")
    end = len(vocab) - 1
    text = {"vocab_size": len(vocab), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"max_position_embeddings": CONTEXT, "bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 32}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(path)
    transformers.CLIPTokenizer.from_pretrained(path).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def encoder(folder: Path) -> clip.Clip:
    return clip.load_b32(device="cpu", path=str(folder))


@pytest.mark.parametrize("size", [(224, 224), (64, 64), (301, 200), (150, 333), (225, 448)])
def test_image_features_agree_with_transformers(encoder: clip.Clip, folder: Path, size: tuple[int, int]):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    random = np.random.RandomState(size[0])
    image = Image.fromarray(random.randint(0, 256, (8, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    model = transformers.CLIPModel.from_pretrained(folder)
    pixels = CLIPImageProcessorPil()(images=image, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        theirs = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    ours = encoder(encoder.prepare(image)[None])["pool"]
    assert ours.shape == (1, 16)
    assert ((ours - theirs).norm() / theirs.norm()).item() < 1e-5


def test_text_features_agree_with_transformers_for_prompts_of_any_length(encoder: clip.Clip, folder: Path):
    prompts = ["a cat", "two red dogs on a beach", "", "x " * 75, "y " * 76, "word " * 100, "z " * 300]
    model, tokenizer = transformers.CLIPModel.from_pretrained(folder), transformers.CLIPTokenizer.from_pretrained(folder)
    ours = encoder.text(prompts)
    for prompt, found in zip(prompts, ours, strict=True):
        tokens = tokenizer([prompt], truncation=True, max_length=CONTEXT, return_tensors="pt")
        with torch.inference_mode():
            read = model.text_model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
            theirs = model.text_projection(read.pooler_output)[0]
        assert ((found - theirs).norm() / theirs.norm()).item() < 1e-5, prompt
    assert encoder.truncated(prompts) == 3


def test_long_prompts_do_not_collapse_into_one_feature(encoder: clip.Clip):
    first, second = encoder.text(["cat " * 90, "dog " * 90])
    assert torch.nn.functional.cosine_similarity(first, second, dim=0) < 0.99


def test_text_features_do_not_depend_on_the_batch(encoder: clip.Clip):
    prompts = [f"{'word ' * (n % 30)}end" for n in range(130)]
    together, alone = encoder.text(prompts), torch.cat([encoder.text([prompt]) for prompt in prompts[:20]])
    assert torch.allclose(together[:20], alone, atol=1e-5)


def test_fingerprint_names_weights_and_preprocessing(encoder: clip.Clip, folder: Path, tmp_path: Path):
    assert clip.load_l14(device="cpu", path=str(folder)).fingerprint == encoder.fingerprint
    model = transformers.CLIPModel.from_pretrained(folder)
    with torch.no_grad():
        model.logit_scale += 1
    model.save_pretrained(tmp_path)
    transformers.CLIPTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    assert clip.load_b32(device="cpu", path=str(tmp_path)).fingerprint != encoder.fingerprint


def test_missing_weights_are_one_quick_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(EvalkitError, match="There is no CLIP model in"):
        clip.load_b32(path=str(tmp_path))
    monkeypatch.setattr(clip, "in_cache", lambda name: False)
    with pytest.raises(EvalkitError, match="fetching is not allowed"):
        clip.load_b32(fetch=False)
    monkeypatch.setattr(weights, "reachable", lambda url: False)
    with pytest.raises(EvalkitError, match="cannot be reached"):
        clip.load_l14()
