"""Which part of a run a process does: as users write it, and as clusters say it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core import EvalkitError
from evalkit.models.load import device_of
from evalkit.shards import WHOLE, Shard, from_environment, refuse_copies, shard_of


def array(task: int, least: int, most: int, step: int = 1, count: int | None = None) -> dict:
    counted = len(range(least, most + 1, step)) if count is None else count
    values = {"ID": task, "MIN": least, "MAX": most, "STEP": step, "COUNT": counted}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def step(task: int, tasks: int) -> dict[str, str]:
    return {"SLURM_PROCID": str(task), "SLURM_STEP_NUM_TASKS": str(tasks)}


@pytest.mark.parametrize(
    ("text", "expected"), [("0/1", (0, 1)), ("3/8", (3, 8)), (" 0 / 2 ", (0, 2))]
)
def test_a_shard_is_written_as_a_fraction(text: str, expected: tuple[int, int]) -> None:
    assert shard_of(text) == Shard(*expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8/8", "expected 0/8 to 7/8"),
        ("9/8", "expected 0/8 to 7/8"),
        ("0/0", "0 <= i < N"),
        ("-1/8", "0 <= i < N"),
        ("3", "0 <= i < N"),
        ("", "0 <= i < N"),
        ("1/2/3", "0 <= i < N"),
        ("٣/8", "0 <= i < N"),
        ("1.0/8", "0 <= i < N"),
    ],
)
def test_other_texts_are_refused(text: str, said: str) -> None:
    with pytest.raises(EvalkitError, match="counted from 0") as error:
        shard_of(text)
    assert said in error.value.message


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, WHOLE),
        ({"RANK": "2", "WORLD_SIZE": "4"}, Shard(2, 4)),
        (step(1, 3), Shard(1, 3)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, WHOLE),  # a batch script, which is alone
        ({"RANK": "5", "WORLD_SIZE": "8"} | step(1, 2), Shard(5, 8)),  # srun starts torchrun
        (array(3, 0, 7), Shard(3, 8)),
        (array(4, 1, 4), Shard(3, 4)),
        (array(20, 10, 30, 5), Shard(2, 5)),
        (array(1, 0, 2) | step(1, 4), Shard(5, 12)),
        (array(7, 7, 7), WHOLE),
        ({"JOB_COMPLETION_INDEX": "2", "EVALKIT_SHARDS": "5"}, Shard(2, 5)),
    ],
)
def test_clusters_say_which_shard_a_process_is(
    environment: Mapping[str, str], expected: Shard
) -> None:
    assert from_environment(environment)[0] == expected


@given(
    st.integers(1, 5), st.integers(1, 5), st.integers(0, 40), st.integers(0, 9), st.integers(1, 3)
)
def test_the_processes_of_an_array_do_every_item_once(
    jobs: int, tasks: int, items: int, least: int, stride: int
) -> None:
    most = least + (jobs - 1) * stride
    done = [
        item
        for job in range(jobs)
        for task in range(tasks)
        for item in from_environment(
            array(least + job * stride, least, most, stride) | step(task, tasks)
        )[0].of(range(items))
    ]
    assert sorted(done) == list(range(items))


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 and WORLD_SIZE is 2"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK is 'x'"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK is '-1'"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "expected 0 <= RANK < WORLD_SIZE"),
        ({"RANK": "1"}, "RANK is 1 and WORLD_SIZE is 1"),
        (array(7, 3, 7, count=2), "The Slurm array has 2 jobs from 3 to 7"),  # --array=3,7
        ({"JOB_COMPLETION_INDEX": "2"}, "Kubernetes does not tell a job how many"),
        (
            {"JOB_COMPLETION_INDEX": "5", "EVALKIT_SHARDS": "5"},
            "0 <= JOB_COMPLETION_INDEX",
        ),
    ],
)
def test_an_environment_that_leaves_it_open_is_refused(
    environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EvalkitError) as error:
        shard_of()
    assert said in error.value.message
    assert "--shard" in error.value.hint
    assert shard_of("0/1") == WHOLE  # what is given wins


def test_a_shard_from_the_environment_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "evalkit")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert shard_of() == Shard(1, 3)
    assert "shard 1/3 of the run, as RANK says" in caplog.text


def test_copies_of_a_whole_command_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in array(1, 0, 3).items():  # an array may well make another run in each job
        monkeypatch.setenv(name, value)
    refuse_copies()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(EvalkitError, match="2 processes run the same command") as error:
        refuse_copies()
    assert "evalkit generate" in error.value.hint


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "cuda"),
        ({"LOCAL_RANK": "3"}, "cuda:3"),
        ({"LOCAL_RANK": "5"}, "cuda:1"),
        ({"SLURM_LOCALID": "2"} | step(2, 4), "cuda:2"),
        ({"SLURM_LOCALID": "2"}, "cuda"),  # a batch script
    ],
)
def test_each_process_of_a_machine_has_one_card(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert device_of("auto") == expected
    assert device_of("cpu") == "cpu"
