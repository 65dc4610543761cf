"""From CLIP's published files to transformers' network and tokenizer.

Tensors are read, renamed and checked; no code in the files is run.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.encoders import torchscript

HEAD = 64  # the width of an attention head in every CLIP that OpenAI published
CONTEXT = 77  # tokens, in every published CLIP
_EXPECTED = "Expected one of OpenAI's published files."
# Names in OpenAI's archives (and in open_clip's files), and in their files for transformers.
_NAMES = (
    (r"visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"visual\.ln_pre\.", "vision_model.pre_layrnorm."),  # sic
    (r"visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"visual\.proj$", "visual_projection.weight"),
    (r"visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"ln_final\.", "text_model.final_layer_norm."),
    (r"text_projection$", "text_projection.weight"),
    (r"logit_scale$", "logit_scale"),
)
_BLOCK_NAMES = {
    "attn.in_proj_": "self_attn.in_proj_",
    "attn.out_proj.": "self_attn.out_proj.",
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}


def read_state(path: Path) -> dict[str, Tensor]:
    """The float32 weights of a CLIP model under the names of transformers.

    Reads OpenAI's archives (half precision), safetensors, and `torch.save` files of plain tensors,
    also with the names of open_clip and below the key "state_dict". Raises EvalkitError for
    anything else.
    """
    try:
        if torchscript.is_torchscript(path):
            state = renamed(torchscript.read_tensors(path))
        elif _is_safetensors(path):
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("state_dict", state)
            if "visual.proj" in state:
                state = renamed(state)
        return {
            name: tensor.float()
            for name, tensor in state.items()
            if not name.endswith("position_ids")
        }
    except Exception as error:  # damaged files raise nearly every type of exception
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise EvalkitError(
            f"{path} cannot be read as CLIP weights: {reason}", _EXPECTED, code="encoders-3"
        ) from error


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of OpenAI's archive with the names and layout of transformers' CLIPModel.

    The joint projection of queries, keys and values is split in three; the two output projections
    are transposed, since OpenAI multiplies from the right. Tensors that are not weights (masks,
    sizes) are left out.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new = _new_name(name)
        if not new:
            continue
        if new in ("visual_projection.weight", "text_projection.weight"):
            result[new] = tensor.T.contiguous()
        elif ".in_proj_" in new:
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                result[new.replace(".in_proj_", f".{part}_proj.")] = rows.contiguous()
        else:
            result[new] = tensor.contiguous()
    return result


def _new_name(name: str) -> str:
    """The name in transformers ("in_proj" is not split here); "" for a tensor to leave out."""
    new = next((re.sub(f"^{old}", start, name) for old, start in _NAMES if re.match(old, name)), "")
    tower, layers, rest = new.partition(".layers.")
    if not layers:
        return new
    number, _, part = rest.partition(".")
    start = next((old for old in _BLOCK_NAMES if part.startswith(old)), "")
    return f"{tower}{layers}{number}.{_BLOCK_NAMES[start]}{part[len(start) :]}" if start else ""


def build(state: dict[str, Tensor], activation: str = "quick_gelu", image_head: int = HEAD) -> Any:
    """transformers' CLIPModel with these weights; all sizes follow from their shapes.

    Args:
        activation: "quick_gelu" in OpenAI's networks, "gelu" in most others.
        image_head: the width of an attention head of the image tower: 80 for ViT-H/14.

    Raises EvalkitError where tensors are missing, unknown or do not fit.
    """
    from transformers import CLIPConfig, CLIPModel
    from transformers.utils import logging

    try:
        tokens = state["text_model.embeddings.token_embedding.weight"]  # [vocabulary, width]
        patches = state["vision_model.embeddings.patch_embedding.weight"]  # [width, 3, P, P]
        grid = round((len(state["vision_model.embeddings.position_embedding.weight"]) - 1) ** 0.5)
        dimensions = len(state["visual_projection.weight"])
        text = _tower(state, "text_model", tokens.shape[1], HEAD) | {
            "vocab_size": len(tokens),
            "max_position_embeddings": len(
                state["text_model.embeddings.position_embedding.weight"]
            ),
            "bos_token_id": len(tokens) - 2,
            "eos_token_id": len(tokens) - 1,
            "pad_token_id": len(tokens) - 1,
        }
        vision = _tower(state, "vision_model", len(patches), image_head) | {
            "patch_size": patches.shape[-1],
            "image_size": grid * patches.shape[-1],
        }
    except KeyError as error:
        raise _not_clip(f"{error} is missing") from error
    config = CLIPConfig(
        text_config=text | {"projection_dim": dimensions, "hidden_act": activation},
        vision_config=vision | {"projection_dim": dimensions, "hidden_act": activation},
        projection_dim=dimensions,
    )
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        load: Any = CLIPModel.from_pretrained  # its type omits output_loading_info
        model, found = load(
            None, config=config, state_dict=state, output_loading_info=True, dtype=torch.float32
        )
    except RuntimeError as error:  # shapes that do not match
        raise _not_clip(str(error).splitlines()[0]) from error
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
    wrong = sorted({*found["missing_keys"], *found["unexpected_keys"]})
    if wrong:
        raise _not_clip(f"{', '.join(wrong[:5])} are missing or unknown")
    return model


def _not_clip(reason: str) -> EvalkitError:
    return EvalkitError(
        f"The weights are not those of a CLIP model: {reason}.", _EXPECTED, code="encoders-4"
    )


def _tower(state: dict[str, Tensor], tower: str, width: int, head: int) -> dict[str, Any]:
    blocks = {name.split(".")[3] for name in state if name.startswith(f"{tower}.encoder.layers.")}
    return {
        "hidden_size": width,
        "intermediate_size": len(state[f"{tower}.encoder.layers.0.mlp.fc1.weight"]),
        "num_hidden_layers": len(blocks),
        "num_attention_heads": max(1, width // head),
    }


def tokenizer() -> Any:
    """CLIP's tokenizer of 49,408 tokens, from the merges that ship with evalkit.

    transformers' CLIPTokenizer cleans text less than OpenAI's code (no ftfy, no HTML entities):
    only prompts with broken encodings or entities such as `&amp;` differ.
    """
    from transformers import CLIPTokenizer

    text = gzip.decompress((files("evalkit.encoders") / "clip_merges.txt.gz").read_bytes()).decode()
    lines = text.rstrip("\n").split("\n")[1:]  # the first line is a version
    merges: list[Any] = [tuple(line.split(" ")) for line in lines]
    letters = _byte_letters()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)}, merges=merges
    )


def tokens(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """The tokens of each prompt between the start and the end token, of any length."""
    ids = tokenizer(list(prompts), add_special_tokens=False, verbose=False)["input_ids"]
    return [[tokenizer.bos_token_id, *row, tokenizer.eos_token_id] for row in ids]


def _byte_letters() -> list[str]:
    """The characters that represent the 256 bytes in CLIP's vocabulary, in its order: printable
    bytes represent themselves, the others follow from U+0100.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = 256 - len(printable)
    return [chr(number) for number in printable] + [chr(256 + number) for number in range(others)]


def digest(state: dict[str, Tensor]) -> str:
    """SHA-256 of all tensors by name, 16 digits: independent of the file format."""
    result = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        result.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        result.update(tensor.contiguous().numpy().tobytes())
    return result.hexdigest()[:16]
