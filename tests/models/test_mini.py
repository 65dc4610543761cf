import pytest
import torch
from safetensors.torch import save_file

from evalkit.core import EvalkitError
from evalkit.models.load import load_classifier, read_weights
from evalkit.models.mini_inception import MiniInception, Predictions, detect
from evalkit.training.runtime.checkpoints import save_weights


def test_detect_finds_planted_things_best_first() -> None:
    nouns = torch.zeros(1, 4, 8, 8)
    nouns[:, 3] = 9.0  # nothing, nearly everywhere
    nouns[0, :, 2, 3] = torch.tensor([0.0, 12.0, 0.0, 0.0])
    nouns[0, :, 6, 6] = torch.tensor([15.0, 0.0, 0.0, 0.0])
    colours = torch.zeros(1, 2, 8, 8)
    colours[0, 1, 2, 3] = 1.0
    found = detect(
        Predictions(torch.zeros(1, 1), torch.zeros(1, 3), nouns, colours, torch.zeros(1, 2))
    )
    assert [(thing.noun, thing.x, thing.y) for thing in found[0]] == [(0, 6, 6), (1, 3, 2)]
    assert found[0][1].colour == 1


def test_a_pickle_is_not_read(tmp_path) -> None:
    path = tmp_path / "mini.safetensors"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(EvalkitError, match="not a safetensors file"):
        read_weights(path, "classifier")


def test_weights_of_another_kind_or_width_are_named(tmp_path) -> None:
    path = tmp_path / "mini.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"config": '{"kind": "gan"}'})
    with pytest.raises(EvalkitError, match=r"holds 'gan' weights, expected 'classifier'"):
        read_weights(path, "classifier")
    network = MiniInception(3, 2, 2, 8)
    save_weights(
        path,
        network.state_dict(),
        {
            "kind": "classifier",
            "nouns": [1, 2, 3],
            "colours": [1, 2],
            "backgrounds": [1, 2],
            "width": 12,
        },
    )
    with pytest.raises(EvalkitError, match="does not fit the network"):
        load_classifier(path)


def test_weights_come_back_as_they_were_in_half_precision(tmp_path) -> None:
    network = MiniInception(3, 2, 2, 8)
    config = {
        "kind": "classifier",
        "nouns": [1, 2, 3],
        "colours": [1, 2],
        "backgrounds": [1, 2],
        "width": 8,
    }
    save_weights(tmp_path / "a.safetensors", network.state_dict(), config)
    loaded = load_classifier(tmp_path / "a.safetensors")
    assert all(
        torch.equal(a.half().float() if a.is_floating_point() else a, b)
        for a, b in zip(network.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
