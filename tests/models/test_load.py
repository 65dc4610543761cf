"""Weight files: what is read from them, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from evalkit.core import EvalkitError
from evalkit.models.load import (
    BUNDLED,
    codes_fingerprint,
    device_of,
    load_classifier,
    load_image_tokenizer,
    read_weights,
)
from evalkit.models.mini_inception import MiniInception
from evalkit.training.runtime.checkpoints import save_weights

CONFIG = {
    "kind": "classifier",
    "nouns": [1, 2, 3],
    "colours": [1, 2],
    "backgrounds": [1, 2],
    "width": 8,
}


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta"])
def test_a_device_that_cannot_be_used_is_refused(name: str) -> None:
    """Before a network is moved there, which would raise what torch says."""
    with pytest.raises(EvalkitError, match=f"The device '{name}' cannot be used: .*") as error:
        device_of(name)
    assert "--device cpu" in error.value.hint
    assert device_of("cpu") == "cpu"


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "mini.safetensors"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(EvalkitError, match="not a safetensors file"):
        read_weights(path, "classifier")


def test_weights_of_another_kind_or_width_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mini.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"config": '{"kind": "gan"}'})
    with pytest.raises(EvalkitError, match=r"holds 'gan' weights, expected 'classifier'"):
        read_weights(path, "classifier")
    save_weights(path, MiniInception(3, 2, 2, 8).state_dict(), CONFIG | {"width": 12})
    with pytest.raises(EvalkitError, match="does not fit the network"):
        load_classifier(path)


def test_a_header_without_a_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mini.safetensors"
    header = json.dumps({name: value for name, value in CONFIG.items() if name != "width"})
    save_file({"a": torch.zeros(1)}, path, metadata={"config": header})
    with pytest.raises(EvalkitError, match="another version: its header lacks width"):
        read_weights(path, "classifier")


def test_saved_weights_are_loaded_in_half_precision(tmp_path: Path) -> None:
    network = MiniInception(3, 2, 2, 8)
    save_weights(tmp_path / "a.safetensors", network.state_dict(), CONFIG)
    loaded = load_classifier(tmp_path / "a.safetensors").state_dict()
    for name, value in network.state_dict().items():
        assert torch.equal(
            value.half().float() if value.is_floating_point() else value, loaded[name]
        )


def test_the_fingerprint_of_tokens_depends_on_the_encoder_only() -> None:
    network, _ = load_image_tokenizer(BUNDLED / "image-tokenizer.safetensors")
    before = codes_fingerprint(network)
    with torch.no_grad():
        next(network.decoder.parameters()).add_(1)
        assert codes_fingerprint(network) == before
        next(network.encoder.parameters()).add_(1)
        assert codes_fingerprint(network) != before
