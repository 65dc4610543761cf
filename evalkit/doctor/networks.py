"""The resizing of images and the bundled networks, on fixed inputs, against stored values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.doctor import fixed
from evalkit.doctor.check import Check, reason
from evalkit.doctor.devices import available
from evalkit.doctor.metrics import ADVICE, oracles
from evalkit.encoders import inception_preprocessing, mini
from evalkit.encoders.weights import sha256_of
from evalkit.models import load
from evalkit.models.mini_inception import to_unit

TEXTS = ("a red circle", "two dogs on the beach")
# An accelerator may compute convolutions with the 10 bits of TF32.
TOLERANCE, TOLERANCE_OF_ACCELERATORS = 1e-4, 1e-2


def checks() -> list[Check]:
    known = oracles()
    found = [_file(name, digest) for name, digest in known["weights"].items()]
    for name, convention in RESIZES.items():
        found.append(_compared(f"resize {name}", known["resizes"][name], lambda c=convention: c()))
    for device in available():
        for name, run in OUTPUTS.items():
            topic = f"{name} on {device}"
            found.append(
                _compared(topic, known["networks"][name], lambda r=run, d=device: r(d), device)
            )
    return found


def _file(name: str, digest: str) -> Check:
    topic = f"weights {name}"
    path = load.BUNDLED / name
    advice = "Install evalkit again."
    if not path.is_file():
        return Check(topic, "bad", "not installed", advice)
    if sha256_of(path) != digest:
        return Check(topic, "bad", f"{path} is not the file of this version (SHA-256)", advice)
    return Check(topic, "ok", f"{path.stat().st_size / 2**20:.1f} MiB, SHA-256 as released")


def _compared(
    topic: str, oracle: Mapping[str, Any], run: Callable[[], Tensor], device: str = "cpu"
) -> Check:
    tolerance = TOLERANCE if device == "cpu" else TOLERANCE_OF_ACCELERATORS
    try:
        found = fixed.digest(run().cpu().numpy())
    except EvalkitError as error:
        return Check(topic, "bad", error.message, error.hint)
    except Exception as error:  # a damaged library or driver raises anything
        return Check(topic, "bad", reason(error), ADVICE)
    away = np.abs(np.subtract(found, oracle["digest"])).max() / oracle["digest"][0]
    if not away <= tolerance:  # also NaN
        finding = f"differs by {away:.1g} from {oracle['source']}, more than {tolerance:g}"
        return Check(topic, "bad", finding, ADVICE)
    return Check(topic, "ok", f"as {oracle['source']} (to {tolerance:g})")


RESIZES: dict[str, Callable[[], Tensor]] = {
    name: lambda convention=convention: convention.prepare(fixed.images()[0])
    for name, convention in (
        ("inception", inception_preprocessing.TF1),
        ("inception-torch", inception_preprocessing.TORCH),
        ("inception-clean", inception_preprocessing.CLEAN),
        ("inception-antialias", inception_preprocessing.ANTIALIAS),
    )
}


def encoded(name: str, device: str) -> Tensor:
    """The features "pool" of the fixed images, float32 [2, D]; with those of texts, where it reads
    texts.
    """
    encoder: Any = plugins.encoder(name, device)
    pool = encoder(torch.stack([encoder.prepare(image) for image in fixed.images()]))["pool"].cpu()
    return torch.cat([pool, encoder.text(TEXTS)]) if hasattr(encoder, "text") else pool


def small_images(dtype: torch.dtype = torch.float32) -> Tensor:
    """The fixed images as the bundled networks see them, [2, 3, 32, 32], -1 to 1."""
    return to_unit(torch.stack([mini.prepare(image) for image in fixed.images()])).to(dtype)


def pieces(count: int) -> Tensor:
    """Texts as numbers of pieces, int64 [2, 5], below `count`."""
    return torch.from_numpy(fixed.integers(10, 5).reshape(2, 5) + 130) % count


def classified(path: Path, device: str, dtype: torch.dtype = torch.float32) -> Tensor:
    network = load.load_classifier(path).eval().requires_grad_(False).to(device, dtype)
    return network(small_images(dtype).to(device)).logits


def decoded(device: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Both halves, without the rounding between them, where the last bit may decide."""
    network, _ = load.load_image_tokenizer(load.BUNDLED / "image-tokenizer.safetensors")
    network = network.to(device, dtype)
    tokens = torch.from_numpy(fixed.integers(2 * 64, 6) + 128) % network.codes
    halves = (
        network.encoder(small_images(dtype).to(device)),
        network.decode(tokens.reshape(2, 64).to(device)),
    )
    return torch.cat([half.flatten() for half in halves])


def predicted(device: str, dtype: torch.dtype = torch.float32) -> Tensor:
    network, config = load.load_dalle(load.BUNDLED / "dalle.safetensors")
    tokens = torch.from_numpy(fixed.integers(2 * network.length, 6) + 128) % config["codes"]
    texts = pieces(len(config["pieces"]))
    network = network.to(device, dtype)
    return network(texts.to(device), tokens.reshape(2, -1).to(device))


def drawn(device: str, dtype: torch.dtype = torch.float32) -> Tensor:
    network, config = load.load_gan(load.BUNDLED / "gan.safetensors")
    network = network.to(device, dtype)
    noise = torch.from_numpy(fixed.integers(2 * network.noise, 7) / 128).reshape(2, -1)
    text = network.encode_text(pieces(len(config["pieces"])).to(device))
    return network(text, noise.to(dtype).to(device))


OUTPUTS: dict[str, Callable[[str], Tensor]] = {
    **{
        name: lambda device, name=name: encoded(name, device)
        for name in ("efficientnet-lite0", "mini-clip", "mini-inception", "pixels")
    },
    **{
        name: lambda device, name=name: classified(load.BUNDLED / f"{name}.safetensors", device)
        for name in ("mini-coach", "mini-judge")
    },
    "dalle": predicted,
    "gan": drawn,
    "image-tokenizer": decoded,
}
