"""Checkpoints resume bit for bit; foreign files are refused; a bad loss keeps the last good one."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from small_trainings import curve_rows, same, same_weights, settings, small_dalle
from torch import nn

from evalkit.core import EvalkitError
from evalkit.models.dalle import Dalle
from evalkit.training.options import DalleOptions
from evalkit.training.runtime.checkpoints import MovingAverage


class Killed(BaseException):
    pass


def _kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop in the middle of a step, between checkpoints."""
    forward, calls = Dalle.forward, []

    def counted(self: Dalle, *inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            calls.append(1)
        if len(calls) > step:
            raise Killed
        return forward(self, *inputs)

    monkeypatch.setattr(Dalle, "forward", counted)


def test_a_killed_training_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    weights = [folder / "dalle.safetensors" for folder in (whole, parts)]
    small_dalle(settings(whole, "dalle", 8, 4, every=2), judge=None)
    with monkeypatch.context() as patch:
        _kill_at(5, patch)
        with pytest.raises(Killed):
            small_dalle(settings(parts, "dalle", 8, 4, every=2), judge=None)
    assert not same_weights(*weights)
    small_dalle(settings(parts, "dalle", 8, 4, every=2), judge=None)
    assert same_weights(*weights)
    curves = [
        [(row["step"], row["loss"], row["held_out_loss"]) for row in curve_rows(file)]
        for file in (whole / "dalle.csv", parts / "dalle.csv")
    ]
    assert curves[0] == curves[1]


def test_a_row_of_the_curve_without_checkpoint_is_dropped(tmp_path: Path) -> None:
    """The training is killed after the row of step 4 and before its checkpoint."""
    small_dalle(settings(tmp_path, "dalle", 2, every=2), judge=None)
    checkpoint = (tmp_path / "dalle.pt").read_bytes()
    small_dalle(settings(tmp_path, "dalle", 4, every=2), judge=None)
    (tmp_path / "dalle.pt").write_bytes(checkpoint)
    small_dalle(settings(tmp_path, "dalle", 4, every=2), judge=None)
    assert [row["step"] for row in curve_rows(tmp_path / "dalle.csv")] == ["2", "4"]


def test_a_checkpoint_of_another_architecture_is_refused_with_its_fields(tmp_path: Path) -> None:
    small_dalle(settings(tmp_path, "dalle", 1), judge=None)
    message = r"belongs to another training: it differs in depth \(1 there, 2 now\)"
    with pytest.raises(EvalkitError, match=message):
        small_dalle(settings(tmp_path, "dalle", 2), DalleOptions(depth=2), judge=None)


def test_a_checkpoint_without_a_field_of_its_architecture_is_refused(tmp_path: Path) -> None:
    small_dalle(settings(tmp_path, "dalle", 1), judge=None)
    state = torch.load(tmp_path / "dalle.pt", weights_only=True)
    config = {name: value for name, value in json.loads(state["config"]).items() if name != "heads"}
    torch.save(state | {"config": json.dumps(config)}, tmp_path / "dalle.pt")
    message = r"belongs to another training: it differs in heads \(None there, 4 now\)"
    with pytest.raises(EvalkitError, match=message):
        small_dalle(settings(tmp_path, "dalle", 2), judge=None)


def test_another_file_in_the_place_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "dalle.pt"
    small_dalle(settings(tmp_path, "dalle", 1), judge=None)
    state = torch.load(file, weights_only=True)
    torch.save({name: part for name, part in state.items() if name != "average"}, file)
    incomplete = file.read_bytes()
    for content in (b"", b"not a checkpoint", pickle.dumps({"step": print}), incomplete):
        file.write_bytes(content)
        with pytest.raises(EvalkitError, match="is not a training checkpoint") as found:
            small_dalle(settings(tmp_path, "dalle", 2), judge=None)
        assert found.value.hint == "Move it to start over."


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_dalle(settings(tmp_path, "dalle", 4, every=2), judge=None)
    files = [tmp_path / "dalle.pt", tmp_path / "dalle.safetensors"]
    before = [file.read_bytes() for file in files]
    forward = Dalle.forward
    monkeypatch.setattr(
        Dalle, "forward", lambda self, *inputs: forward(self, *inputs) * float("nan")
    )
    with pytest.raises(EvalkitError, match="The loss became nan at step 4"):
        small_dalle(settings(tmp_path, "dalle", 8, every=2), judge=None)
    assert [file.read_bytes() for file in files] == before


class Counter(nn.Module):
    """A network of one weight, which also counts, as batch normalisation does."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))
        self.register_buffer("running", torch.tensor([weight]))
        self.register_buffer("count", torch.tensor([int(weight)]))


def test_a_moving_average_starts_with_a_short_horizon() -> None:
    """Its first update keeps 2 / 11 of the old weights, its second 3 / 12; buffers as well."""
    average = MovingAverage(Counter(0.0), decay=0.998)
    average.update_parameters(Counter(11.0))
    assert average.module.weight.item() == average.module.running.item() == pytest.approx(9)
    average.update_parameters(Counter(1.0))
    assert average.module.weight.item() == pytest.approx(0.25 * 9 + 0.75 * 1)
    assert average.module.count.item() == 1  # whole numbers are copied


def test_a_moving_average_reaches_its_decay() -> None:
    average = MovingAverage(Counter(1.0), decay=0.5)
    for _ in range(10):
        average.update_parameters(Counter(1.0))
    average.update_parameters(Counter(0.0))
    assert average.module.weight.item() == 0.5


def test_a_moving_average_restarts_and_resumes() -> None:
    average, other = (MovingAverage(Counter(0.0), decay=0.9) for _ in range(2))
    average.update_parameters(Counter(7.0))
    average.restart(Counter(3.0))
    assert average.module.weight.item() == 3
    average.update_parameters(Counter(14.0))
    assert average.module.weight.item() == pytest.approx(12)  # 2 / 11 of 3, 9 / 11 of 14
    other.load_state_dict(average.state_dict())
    for each in (average, other):
        each.update_parameters(Counter(5.0))
    assert same(average.state_dict(), other.state_dict())
