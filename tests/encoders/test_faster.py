"""Encoders in bfloat16 and TF32: names of their own, float32 features, and little error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from seeded_inception import sample_images, state_dict

from evalkit.core import Encoder, EvalkitError
from evalkit.encoders import clip, mini, select
from evalkit.encoders.efficientnet import load as load_efficientnet
from evalkit.encoders.faster import exact_of, faster
from evalkit.encoders.inception import Inception
from evalkit.encoders.inception_network import InceptionNetwork
from evalkit.encoders.pixels import Pixels
from evalkit.encoders.timm_models import TimmModel
from evalkit.images import to_images
from evalkit.precision import computing

BACKENDS: Any = torch.backends


@pytest.fixture(scope="module")
def encoders(archive: Path) -> dict[str, Encoder]:
    torch.manual_seed(0)
    network = timm.create_model("test_resnet.r160_in1k", pretrained=False)
    return {
        "inception": Inception(
            "inception", InceptionNetwork(state_dict(), torch.device("cpu")), "0" * 64
        ),
        "clip": clip.load_b32(device="cpu", path=str(archive)),
        "timm": TimmModel(network, "test_resnet.r160_in1k"),
        "efficientnet": load_efficientnet(device="cpu"),
        "mini-inception": mini.load_inception(device="cpu"),
        "mini-clip": mini.load_clip_encoder(device="cpu"),
    }


NAMES = ["inception", "clip", "timm", "efficientnet", "mini-inception", "mini-clip"]


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_features_are_float32_and_close_to_exact_ones(
    name: str, encoders: dict[str, Encoder]
) -> None:
    exact = encoders[name]
    fast = faster(exact, "bf16")
    images = torch.stack([exact.prepare(one) for one in to_images(sample_images(2, 48, 64, 0))])
    expected, found = exact(images), fast(images)
    assert found.keys() == expected.keys()
    for feature, values in found.items():
        assert values.dtype == torch.float32
        error = float((values - expected[feature]).norm() / expected[feature].norm())
        assert 1e-5 < error < 0.1, (feature, error)
    assert all(map(torch.equal, fast(images).values(), found.values()))  # deterministic
    assert all(map(torch.equal, exact(images).values(), expected.values()))  # as before


def test_a_faster_encoder_says_so_everywhere(encoders: dict[str, Encoder]) -> None:
    exact, fast = encoders["mini-clip"], faster(encoders["mini-clip"], "bf16")
    assert (exact.name, fast.name) == ("mini-clip", "mini-clip-bf16")
    assert fast.fingerprint != exact.fingerprint
    assert getattr(fast, "dtype") == "bfloat16"  # noqa: B009
    assert exact_of(fast) is exact
    assert exact_of(exact) is exact
    assert faster(fast, "bf16") is fast
    assert faster(exact, "exact") is exact


def test_prompts_are_encoded_exactly(encoders: dict[str, Encoder]) -> None:
    for name in ("clip", "mini-clip"):
        exact: Any = encoders[name]
        fast: Any = faster(exact, "bf16")
        assert torch.equal(fast.text(["a red bird"]), exact.text(["a red bird"]))


def test_pixels_are_normalised_in_float32(encoders: dict[str, Encoder]) -> None:
    exact: Any = encoders["clip"]
    fast: Any = faster(exact, "bf16")
    seen: list[torch.Tensor] = []
    hook = exact.model.vision_model.register_forward_pre_hook(
        lambda layer, given, named: seen.append(named["pixel_values"]), with_kwargs=True
    )
    images = torch.stack([exact.prepare(one) for one in to_images(sample_images(1, 48, 64, 0))])
    exact(images)
    fast(images)
    hook.remove()
    assert [part.dtype for part in seen] == [torch.float32] * 2
    assert torch.equal(*seen)


def test_tf32_is_refused_where_the_device_has_none(encoders: dict[str, Encoder]) -> None:
    with pytest.raises(EvalkitError, match="cpu does not compute in tf32, which needs an NVIDIA"):
        faster(encoders["mini-clip"], "tf32")


def test_tf32_holds_for_products_and_convolutions_of_cuda_only() -> None:
    places = [BACKENDS.cuda.matmul, BACKENDS.cudnn.conv, BACKENDS.mkldnn.matmul]
    before = [place.fp32_precision for place in places]
    with computing("tf32"):
        assert [place.fp32_precision for place in places] == ["tf32", "tf32", "ieee"]
        with computing("exact"):
            assert [place.fp32_precision for place in places] == ["ieee"] * 3
        assert torch.get_float32_matmul_precision() == "high"
        assert not torch.is_autocast_enabled("cpu")
    assert [place.fp32_precision for place in places] == before


def test_an_encoder_without_modes_cannot_be_named_in_one() -> None:
    class Mine(Pixels):
        precision = "exact"

    for encoder in (Pixels(), Mine()):
        with pytest.raises(EvalkitError, match="pixels cannot compute in bf16"):
            faster(encoder, "bf16")


def test_encoders_are_loaded_by_the_names_of_their_modes() -> None:
    [encoder] = select.load_named("mini-inception-bf16", "cpu")
    assert encoder.name == "mini-inception-bf16"
    with pytest.raises(EvalkitError, match="There is no encoder 'nothing-bf16'"):
        select.named("nothing-bf16")


def test_a_choice_in_a_mode_names_the_encoders_without_it() -> None:
    found = select.choose("pixels,mini-clip", "cpu", ["inception", "clip"], precision="bf16")
    assert found.encoders["inception"].name == "pixels"
    assert found.encoders["clip"].name == "mini-clip-bf16"
    assert found.reasons == [
        "pixels: named; it has no mode bf16 and computes as always",
        "mini-clip-bf16: named",
    ]
    both = select.choose("mini", "cpu", ["clip", "clip-large"], precision="bf16").encoders
    assert both["clip"] is both["clip-large"]
