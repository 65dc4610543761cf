"""CLIP's published files: names, formats, the tokenizer, and files that do not fit."""

from __future__ import annotations

import gzip
import hashlib
import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from openai_clip import OpenAI
from safetensors.torch import save_file
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.encoders import clip_model

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def state(archive: Path) -> dict[str, Tensor]:
    return clip_model.read_state(archive)


def test_the_tokenizer_is_the_published_one():
    """The vocabulary and the merges are, byte for byte, the files of OpenAI's repositories."""
    tokenizer = clip_model.tokenizer()
    ordered = dict(sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]))
    vocabulary = json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()
    merges = gzip.decompress((files("evalkit.encoders") / "clip_merges.txt.gz").read_bytes())
    assert [hashlib.sha256(data).hexdigest() for data in (vocabulary, merges)] == [
        "5047b556ce86ccaf6aa22b3ffccfc52d391ea4accdab9c2f2407da5b742d4363",
        "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a",
    ]
    # The tokens that OpenAI's own code gives.
    expected = [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer(["a photo of a cat"])["input_ids"][0] == expected


def test_every_format_gives_the_same_weights(state: dict[str, Tensor], tmp_path: Path):
    # Older published files hold positions that newer versions leave out.
    positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    torch.save(state | positions, tmp_path / "saved.bin")
    save_file(state, tmp_path / "saved.safetensors")
    for name in ("saved.bin", "saved.safetensors"):
        found = clip_model.read_state(tmp_path / name)
        assert set(found) == set(state)
        assert clip_model.digest(found) == clip_model.digest(state)
    state = state | {"logit_scale": state["logit_scale"] + 1}
    assert clip_model.digest(state) != clip_model.digest(found)


def test_the_model_has_the_weights_of_the_archive(state: dict[str, Tensor]):
    model = clip_model.build(state).state_dict()
    assert set(state) == set(model)
    assert all(torch.equal(tensor, model[name]) for name, tensor in state.items())


def test_renaming_keeps_every_weight_and_nothing_else(openai: OpenAI, state: dict[str, Tensor]):
    layer = "vision_model.encoder.layers.1.self_attn."
    joint = torch.cat([state[f"{layer}{part}_proj.weight"] for part in "qkv"])
    assert torch.equal(joint, openai.visual.transformer.resblocks[1].attn.in_proj_weight)
    assert torch.equal(state["visual_projection.weight"].T, openai.visual.proj)
    assert torch.equal(state["text_projection.weight"].T, openai.text_projection)
    first = openai.transformer.resblocks[0].mlp[0].bias
    assert torch.equal(state["text_model.encoder.layers.0.mlp.fc1.bias"], first)
    mask = {"transformer.resblocks.0.attn_mask": torch.zeros(77, 77)}  # not a weight
    renamed = clip_model.renamed(openai.state_dict() | mask)
    assert set(renamed) == set(state)
    count = sum(tensor.numel() for tensor in openai.parameters())
    assert sum(tensor.numel() for tensor in renamed.values()) == count


def test_other_files_are_refused(tmp_path: Path):
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(EvalkitError, match=r"text\.pt cannot be read as CLIP weights"):
        clip_model.read_state(tmp_path / "text.pt")


def test_other_weights_are_refused(state: dict[str, Tensor]):
    with pytest.raises(EvalkitError, match="are not those of a CLIP model: 'text_model"):
        clip_model.build({"fc.weight": torch.zeros(3, 3)})
    part = {name: tensor for name, tensor in state.items() if "final_layer_norm.bias" not in name}
    with pytest.raises(EvalkitError, match=r"final_layer_norm\.bias are missing or unknown"):
        clip_model.build(part)
