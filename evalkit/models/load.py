"""Loads the bundled networks from safetensors files, checked against the configuration in their
header.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from evalkit.core import EvalkitError
from evalkit.models.dalle import Dalle, DalleBlock
from evalkit.models.gan import Gan
from evalkit.models.image_tokenizer import ImageTokenizer
from evalkit.models.mini_clip import MiniClip
from evalkit.models.mini_inception import MiniInception
from evalkit.models.text import TextTower
from evalkit.shards import local_rank

BUNDLED = Path(__file__).parent.parent / "weights"
FIELDS = {  # what the header of each kind of weights must hold to rebuild the network
    "classifier": ("nouns", "colours", "backgrounds", "width"),
    "clip": ("words", "context", "classifier"),
    "image tokenizer": ("levels", "width", "doublings"),
    "dalle": ("pieces", "context", "codes", "side", "width", "depth", "heads"),
    "gan": ("pieces", "context", "width", "depth", "size", "noise", "widths"),
}


def weights_file(place: str, name: str) -> Path:
    """`place` itself if it is a weight file, else NAME.safetensors in that folder; the bundled file
    if `place` is empty.
    """
    path = Path(place) if place else BUNDLED
    return path if path.suffix == ".safetensors" else path / f"{name}.safetensors"


def fingerprint(*weights: Path) -> str:
    """A hash of weight files. A run is not resumed with other weights."""
    digest = hashlib.sha256()
    for path in weights:
        digest.update(path.read_bytes())
    return f"sha256:{digest.hexdigest()[:16]}"


def codes_fingerprint(tokenizer: ImageTokenizer) -> str:
    """A hash of an image tokenizer's encoder, which defines the meaning of the tokens. The decoder
    may be trained further without changing them.
    """
    digest = hashlib.sha256(json.dumps(tokenizer.levels).encode())
    for name, weights in sorted(tokenizer.encoder.state_dict(prefix="encoder.").items()):
        digest.update(name.encode() + weights.cpu().numpy().tobytes())
    return f"sha256:{digest.hexdigest()[:16]}"


def hash_tensors(tensors: Mapping[str, Tensor], start: bytes = b"") -> str:
    """SHA-256 of `start` and of the names, types, shapes and values of tensors."""
    digest = hashlib.sha256(start)
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def device_of(name: str) -> str:
    """auto -> cuda if available, else cpu. Of several processes on a machine, each has one card.

    Raises EvalkitError for a device that this installation of torch cannot use.
    """
    if name != "auto":
        try:
            torch.zeros(1, device=name).item()  # the device meta has no data
        except Exception as error:  # RuntimeError, AssertionError and others, by the kind of device
            reason = " ".join(str(error).split(". ")[0].split()).removesuffix(".")
            raise EvalkitError(
                f"The device {name!r} cannot be used: {reason}.",
                "Use `--device cpu`, or leave the option out. `evalkit doctor` lists the devices.",
                code="models-6",
            ) from error
        return name
    if not torch.cuda.is_available():
        return "cpu"
    rank = local_rank(os.environ)
    return f"cuda:{rank % torch.cuda.device_count()}" if rank else "cuda"


def device_name(device: str) -> str:
    """A device with the name of its hardware, as a run records it: `cuda NVIDIA H200`."""
    kind = device.partition(":")[0]
    if kind != "cuda" or not torch.cuda.is_available():
        return kind
    return f"{kind} {torch.cuda.get_device_name(device)}"


def read_weights(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and float32 weights of a file; raises EvalkitError for a file of another kind."""
    if not path.is_file():
        raise EvalkitError(
            f"There are no {kind} weights at {path}.",
            "Train them with `evalkit train`, or install evalkit again.",
            code="models-1",
        )
    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads((file.metadata() or {}).get("config", "{}"))
            if not isinstance(config, dict):
                raise ValueError("its configuration is not an object")
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise EvalkitError(
            f"{path} is not a safetensors file: {error}.",
            "Weights are read from safetensors only.",
            code="models-2",
        ) from error
    if config.get("kind") != kind:
        raise EvalkitError(
            f"{path} holds {config.get('kind', 'unknown')!r} weights, expected {kind!r}.",
            "Give the file of the right model.",
            code="models-3",
        )
    if missing := [name for name in FIELDS[kind] if name not in config]:
        raise EvalkitError(
            f"{path} is of another version: its header lacks {', '.join(missing)}.",
            "Train it again, or use the bundled weights.",
            code="models-4",
        )
    return config, {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }


def _load_state(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    expected = network.state_dict()
    wrong = sorted(
        name
        for name in expected.keys() | state.keys()
        if name not in expected or name not in state or expected[name].shape != state[name].shape
    )
    if wrong:
        raise EvalkitError(
            f"{path} does not fit the network: {', '.join(wrong[:5])}"
            f"{' …' if len(wrong) > 5 else ''} differ.",
            "Use weights of this preset.",
            code="models-5",
        )
    network.load_state_dict(state)
    network.eval().requires_grad_(False)


def load_classifier(path: Path) -> MiniInception:
    config, state = read_weights(path, "classifier")
    nouns, colours, backgrounds, width = (config[name] for name in FIELDS["classifier"])
    network = MiniInception(len(nouns), len(colours), len(backgrounds), width)
    _load_state(network, state, path)
    return network.requires_grad_(True)


def load_clip(path: Path) -> tuple[MiniClip, dict[str, Any]]:
    config, state = read_weights(path, "clip")
    trunk = MiniInception(1, 1, 1, config["classifier"]["width"])
    network = MiniClip(trunk, len(config["words"]) + 2, config["context"])
    _load_state(network, state, path)
    return network, config


def load_image_tokenizer(path: Path) -> tuple[ImageTokenizer, dict[str, Any]]:
    config, state = read_weights(path, "image tokenizer")
    network = ImageTokenizer(config["levels"], config["width"], config["doublings"])
    _load_state(network, state, path)
    return network, config


def load_dalle(path: Path) -> tuple[Dalle, dict[str, Any]]:
    config, state = read_weights(path, "dalle")
    tower = TextTower(len(config["pieces"]) + 2, config["context"], config["width"])
    network = Dalle(
        tower, config["codes"], config["side"], config["width"], config["depth"], config["heads"]
    )
    _load_state(network, state, path)
    for block in network.blocks:
        # many inputs, few outputs: 2.5 times as fast with weights stored transposed
        layer = cast(DalleBlock, block).contract
        layer.weight.data = layer.weight.data.T.contiguous().T
    return network, config


def load_gan(path: Path) -> tuple[Gan, dict[str, Any]]:
    config, state = read_weights(path, "gan")
    tower = TextTower(
        len(config["pieces"]) + 2, config["context"], config["width"], config["depth"], ordered=True
    )
    network = Gan(tower, noise=config["noise"], size=config["size"], widths=dict(config["widths"]))
    _load_state(network, state, path)
    # 1.5 times as fast on a CPU
    return network.to(memory_format=torch.channels_last), config
