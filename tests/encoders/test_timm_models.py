"""`timm:NAME` against timm itself, with seeded random weights."""

import sys

import pytest
import timm
import torch
from counting_encoder import smooth_image
from timm.data import create_transform, resolve_data_config

from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.encoders.timm_models import TimmModel

MODEL = "test_resnet.r160_in1k"


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """The network that evalkit gets in place of a download."""
    torch.manual_seed(0)
    found = timm.create_model(MODEL, pretrained=False)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: found)
    return found


def test_features_are_those_of_timm(network: torch.nn.Module) -> None:
    encoder = plugins.encoder(f"timm:{MODEL}", "cpu")
    assert encoder.name == "timm-test_resnet.r160_in1k"
    image = smooth_image(3, (200, 170))
    transform = create_transform(**resolve_data_config({}, model=network), is_training=False)
    expected = transform(image)
    prepared = encoder.prepare(image)
    assert torch.equal(prepared, expected)
    found = encoder(torch.stack([prepared, prepared.flip(2)]))
    with torch.inference_mode():
        logits = network.eval()(torch.stack([expected, expected.flip(2)]))
    assert torch.allclose(found["logits"], logits, atol=1e-6)
    assert found["pool"].shape == (2, network.num_features)


def test_the_fingerprint_depends_on_the_weights(network: torch.nn.Module) -> None:
    first = TimmModel(network, MODEL)
    assert TimmModel(network, MODEL).fingerprint == first.fingerprint
    with torch.no_grad():
        next(network.parameters())[0] += 1
    assert TimmModel(network, MODEL).fingerprint != first.fingerprint


def test_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EvalkitError, match="timm cannot load 'resnot'"):
        plugins.encoder("timm:resnot")
    with pytest.raises(EvalkitError, match="'timm' could not be loaded: TypeError"):
        plugins.encoder("timm")
    with pytest.raises(EvalkitError, match="takes no argument"):
        plugins.encoder("pixels:big")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EvalkitError, match="needs timm, which is not installed") as error:
        plugins.encoder("timm:resnet50")
    assert "pip install '.[timm]'" in error.value.hint
