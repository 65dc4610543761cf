"""Batches that other processes prepare are those that this one would have made."""

from pathlib import Path

import pytest
import torch
from small_trainings import JUDGE, settings, small_dalle, world

from evalkit.training.runtime import prefetch as module
from evalkit.training.runtime.prefetch import ahead, helpers


def test_batches_come_in_the_order_of_their_steps():
    examples = world(20)

    def prepare(step: int) -> tuple[torch.Tensor, list[int]]:
        return examples.pictures([step, step + 1]), [step]

    here, there = (list(ahead(prepare, range(3, 17), count)) for count in (0, 2))
    assert (
        [numbers for _, numbers in there]
        == [[step] for step in range(3, 17)]
        == [numbers for _, numbers in here]
    )
    assert all(torch.equal(one, other) for (one, _), (other, _) in zip(here, there, strict=True))


def test_pictures_that_others_composed_are_kept_for_all():
    examples = world(20)
    for _ in ahead(lambda step: examples.pictures([step]), range(20), 2):
        pass
    assert examples._known.all()
    assert torch.equal(examples._kept, world(20).pictures(range(20)))


def test_an_error_of_another_process_arrives():
    def prepare(step: int) -> torch.Tensor:
        raise ValueError("no such step")

    with pytest.raises(ValueError, match="no such step"):
        next(ahead(prepare, range(2), 1))


def test_a_processor_prepares_its_own_batches_and_an_accelerator_shares_its_helpers(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda process: range(16), raising=False)
    assert (helpers("cpu"), helpers("cuda"), helpers("cuda:1", 4), helpers("cuda", 16)) == (
        0,
        8,
        3,
        0,
    )
    monkeypatch.setattr(module.sys, "platform", "win32")
    assert helpers("cuda") == 0


def test_a_dalle_learns_the_same_with_helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, count in (("alone", 0), ("helped", 2)):
        monkeypatch.setattr(module, "helpers", lambda device, processes, count=count: count)
        small_dalle(settings(tmp_path / name, "dalle", 3), judge=JUDGE)
    one, two = (
        (tmp_path / name / "dalle.safetensors").read_bytes() for name in ("alone", "helped")
    )
    assert one == two
