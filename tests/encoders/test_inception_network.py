"""The network: plain and fused convolutions, and weights that do not fit."""

from __future__ import annotations

import pytest
import torch
from seeded_inception import sample_images, state_dict
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.encoders import inception_network
from evalkit.encoders.inception_network import InceptionNetwork
from evalkit.encoders.inception_preprocessing import TF1
from evalkit.images import to_images

CPU = torch.device("cpu")


def test_plain_convolutions_give_the_same_features(monkeypatch: pytest.MonkeyPatch):
    assert inception_network.fused_convolutions_work()
    images = torch.stack([TF1.prepare(image) for image in to_images(sample_images(3, 80, 60, 6))])
    fused = InceptionNetwork(state_dict(), CPU)(images)
    monkeypatch.setattr(inception_network, "fused_convolutions_work", lambda: False)
    plain = InceptionNetwork(state_dict(), CPU)(images)
    for found, expected in zip(fused, plain, strict=True):
        relative = (found - expected).norm(dim=1) / expected.norm(dim=1)
        assert relative.max().item() < 5e-6


def missing(*given: object) -> Tensor:
    raise AttributeError("'_OpNamespace' 'mkldnn' object has no such attribute")


@pytest.mark.parametrize("operator", [missing, lambda x, *given: torch.zeros(2, 16, 5, 5)])
def test_a_missing_or_wrong_fused_convolution_is_not_used(
    operator, monkeypatch: pytest.MonkeyPatch
):
    check = inception_network.fused_convolutions_work.__wrapped__  # without its cache
    assert check()
    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", operator)
    assert not check()


def test_weights_of_another_network_are_refused():
    with pytest.raises(
        EvalkitError, match=r"do not fit Inception v3: fc.weight, Conv2d_1a_3x3.conv.weight"
    ):
        InceptionNetwork({"fc.weight": torch.zeros(3, 3)}, CPU)
    state = state_dict() | {"Mixed_7c.branch1x1.bn.bias": torch.zeros(3)}
    with pytest.raises(EvalkitError, match=r": Mixed_7c.branch1x1.bn.bias are missing or have"):
        InceptionNetwork(state, CPU)
