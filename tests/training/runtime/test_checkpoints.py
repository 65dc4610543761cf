"""A training that was stopped goes on bit for bit; what does not belong to it is refused; a loss
that is no number stops it.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_trainings import settings, small_dalle

from evalkit.core import EvalkitError
from evalkit.models.dalle import Dalle
from evalkit.training.options import DalleOptions


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "dalle.safetensors")


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Killed(BaseException):
    pass


def _killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop in the middle of a step, between checkpoints."""
    forward, calls = Dalle.forward, []

    def counted(
        self: Dalle, numbers: torch.Tensor, tokens: torch.Tensor, hidden: torch.Tensor | None = None
    ) -> torch.Tensor:
        if self.training:
            calls.append(1)
        if len(calls) > step:
            raise Killed
        return forward(self, numbers, tokens, hidden)

    monkeypatch.setattr(Dalle, "forward", counted)


def test_a_killed_training_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    small_dalle(settings(whole, "dalle", 8, every=2), judge=None)
    with monkeypatch.context() as patch:
        _killed_at(5, patch)
        with pytest.raises(Killed):
            small_dalle(settings(parts, "dalle", 8, every=2), judge=None)
    assert not _same(_weights(whole), _weights(parts))
    small_dalle(settings(parts, "dalle", 8, every=2), judge=None)
    assert _same(_weights(whole), _weights(parts))
    curves = [
        [line.split(",")[0::4] for line in (folder / "dalle.csv").read_text().splitlines()]
        for folder in (whole, parts)
    ]
    assert curves[0] == curves[1]  # step and losses; time and memory differ


def test_a_curve_without_its_checkpoint_is_cut(tmp_path: Path) -> None:
    """Killed after the row of step 4 was written and before its checkpoint was: the row is written
    once in the end.
    """
    small_dalle(settings(tmp_path, "dalle", 2, every=2), judge=None)
    checkpoint = (tmp_path / "dalle.pt").read_bytes()
    small_dalle(settings(tmp_path, "dalle", 4, every=2), judge=None)
    (tmp_path / "dalle.pt").write_bytes(checkpoint)
    small_dalle(settings(tmp_path, "dalle", 4, every=2), judge=None)
    assert [line.split(",")[0] for line in (tmp_path / "dalle.csv").read_text().splitlines()] == [
        "step",
        "2",
        "4",
    ]


def test_a_checkpoint_of_another_architecture_names_the_fields(tmp_path: Path) -> None:
    small_dalle(settings(tmp_path, "dalle", 1), judge=None)
    with pytest.raises(
        EvalkitError, match=r"another training: it differs in depth \(1 there, 2 now\)"
    ):
        small_dalle(settings(tmp_path, "dalle", 2), DalleOptions(depth=2), judge=None)


def test_a_checkpoint_that_does_not_say_its_architecture_is_refused(tmp_path: Path) -> None:
    small_dalle(settings(tmp_path, "dalle", 1), judge=None)
    state = torch.load(tmp_path / "dalle.pt", weights_only=True)
    config = {name: value for name, value in json.loads(state["config"]).items() if name != "heads"}
    torch.save(state | {"config": json.dumps(config)}, tmp_path / "dalle.pt")
    with pytest.raises(
        EvalkitError, match=r"another training: it differs in heads \(None there, 4 now\)"
    ):
        small_dalle(settings(tmp_path, "dalle", 2), judge=None)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    import pickle

    for content in (b"", b"not a checkpoint", pickle.dumps({"step": print})):
        (tmp_path / "dalle.pt").write_bytes(content)
        with pytest.raises(EvalkitError, match="is no checkpoint of a training"):
            small_dalle(settings(tmp_path, "dalle", 2), judge=None)


def test_a_loss_that_is_no_number_stops_with_its_step_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_dalle(settings(tmp_path, "dalle", 4, every=2), judge=None)
    before = (tmp_path / "dalle.pt").read_bytes(), _weights(tmp_path)
    forward = Dalle.forward
    monkeypatch.setattr(
        Dalle, "forward", lambda self, *inputs: forward(self, *inputs) * float("nan")
    )
    with pytest.raises(EvalkitError, match="The loss became nan at step 4"):
        small_dalle(settings(tmp_path, "dalle", 8, every=2), judge=None)
    assert (tmp_path / "dalle.pt").read_bytes() == before[0]
    assert _same(_weights(tmp_path), before[1])
