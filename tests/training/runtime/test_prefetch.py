"""Batches that worker processes prepare are those of the training process itself."""

from pathlib import Path

import pytest
import torch
from small_trainings import JUDGE, scenes, settings, small_dalle

from evalkit.scenes import dataset
from evalkit.training.runtime import prefetch as module
from evalkit.training.runtime.prefetch import prefetch, worker_count


def test_batches_come_in_the_order_of_their_steps() -> None:
    examples = scenes(20)

    def prepare(step: int) -> tuple[torch.Tensor, list[int]]:
        return examples.images([step, step + 1]), [step]

    here, there = (list(prefetch(prepare, range(3, 17), workers)) for workers in (0, 2))
    steps = [[step] for step in range(3, 17)]
    assert [numbers for _, numbers in here] == [numbers for _, numbers in there] == steps
    assert all(torch.equal(one, other) for (one, _), (other, _) in zip(here, there, strict=True))


def test_images_of_workers_are_kept_for_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    examples, expected = scenes(20), scenes(20).images(range(20))
    for _ in prefetch(lambda step: examples.images([step]), range(20), 2):
        pass
    monkeypatch.setattr(dataset, "render_images", None)  # nothing can be composed from here on
    assert torch.equal(examples.images(range(20)), expected)


def test_an_error_in_a_worker_is_raised() -> None:
    def prepare(step: int) -> torch.Tensor:
        raise ValueError("no such step")

    with pytest.raises(ValueError, match="no such step"):
        next(prefetch(prepare, range(2), 1))


def test_workers_are_for_accelerators_and_shared_by_the_training_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda process: range(16), raising=False)
    counts = {("cpu", 1): 0, ("cuda", 1): 8, ("cuda:1", 4): 3, ("cuda", 16): 0}
    assert {key: worker_count(*key) for key in counts} == counts
    monkeypatch.setattr(module.sys, "platform", "win32")
    assert worker_count("cuda") == 0


def test_a_dalle_learns_the_same_with_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, count in (("alone", 0), ("workers", 2)):
        monkeypatch.setattr(module, "worker_count", lambda device, processes, count=count: count)
        small_dalle(settings(tmp_path / name, "dalle", 3), judge=JUDGE)
    one, two = (
        (tmp_path / name / "dalle.safetensors").read_bytes() for name in ("alone", "workers")
    )
    assert one == two
