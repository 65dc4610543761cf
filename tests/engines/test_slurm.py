"""Shards as jobs of Slurm: jobs of this machine, and programs that stand for those of Slurm."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit.core import EvalkitError
from evalkit.engines import load
from evalkit.engines.slurm import Shard
from evalkit.engines.task import Task

pytest.importorskip("submitit")
PROMPTS = [f"a red cube {at}" for at in range(6)]
LOCAL = {"slurm": {"cluster": "local", "array": "2", "gpus": 0}}


def generate(model: str, **more: Any) -> evalkit.Run:
    return evalkit.generate(
        model, PROMPTS, out="run", engine="slurm", options=LOCAL, **{"shards": 2} | more
    )


def test_jobs_that_die_or_are_preempted_lose_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_model.py").write_text(DIES_ONCE)
    made = generate("my_model:draw")
    assert [record.status for record in made.records("my_model:draw")] == ["ok"] * 6
    assert "ended without an answer (state FINISHED" in caplog.text
    assert caplog.text.count("it is started again") == 1
    [folder] = (made.path / "logs" / "slurm").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    logs = [path.read_text() for path in folder.glob("*_log.out")]
    assert len(logs) == 3
    assert sum("Requeued job" in text for text in logs) == 1  # submitit's own way, no other try
    assert len(list(folder.glob("*.pkl"))) == 1  # of the job that died: no answer was read


def test_a_shard_that_fails_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_model.py").write_text(FAILS)
    with pytest.raises(EvalkitError) as error:
        generate("my_model:draw", shards=1)
    assert error.value.message.startswith("1 of 1 shards failed: 0/1: The model 'my_model:draw'")
    assert "no more cubes" in error.value.message
    assert "Run the same command again" in error.value.hint


DIES_ONCE = """
import os, pathlib, signal
from PIL import Image
def first(name):
    try:
        pathlib.Path(name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
def draw(prompts, seeds):
    if first("died"):
        os._exit(9)
    if first("preempted"):
        os.kill(os.getpid(), signal.SIGUSR2)
    return [Image.new("RGB", (8, 8), (seed % 251, 9, seed % 13)) for seed in seeds]
"""
FAILS = """
def draw(prompts, seeds):
    raise ValueError("no more cubes")
"""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"partitoin": "gpu"}, "The engine slurm has no option 'partitoin'"),
        ({"time": "long"}, "slurm.time is 'long'; expected a whole number"),
        ({"time": 1.5}, "slurm.time is 1.5; expected a whole number, 1 or more"),
        ({"array": 0}, "slurm.array is 0; expected a whole number, 1 or more"),
        ({"cluster": "kubernetes"}, "slurm.cluster is 'kubernetes'; expected slurm or local"),
        ({}, "found no Slurm (no `sbatch` on this machine)"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_made(
    options: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EvalkitError) as error:
        evalkit.generate(
            "noise", PROMPTS, out=tmp_path / "r", engine="slurm", options={"slurm": options}
        )
    assert said in error.value.message
    assert not (tmp_path / "r").exists()


def test_without_submitit_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(EvalkitError, match="needs submitit") as error:
        load("slurm", {})
    assert "pip install '.[slurm]'" in error.value.hint


def test_a_requeued_job_does_the_same_task() -> None:
    task = Task("encode", "/nowhere", 1, 3, "/", {})
    again = Shard().checkpoint(task)
    assert isinstance(again.function, Shard)
    assert again.args == (task,)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with programs of Slurm, which write down their arguments.

    `states` is what `sacct` answers, and `refusal` why `sbatch` takes nothing.
    """
    for name, does in PROGRAMS.items():
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\ncd {tmp_path}\necho "{name} $@" >> calls\n{does}\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


PROGRAMS = {
    "sbatch": "cp $1 script\n"
    "if [ -e refusal ]; then cat refusal >&2; exit 1; fi\necho Submitted batch job 77",
    "srun": "",
    "scancel": "",
    "scontrol": "",
    "sacct": "if [ -e states ]; then cat states; fi",
}


def started(slurm: Path, **options: Any) -> Any:
    engine = load("slurm", options)
    run = str(slurm / "run")
    engine.start([Task("encode", run, index, 3, str(slurm), {}) for index in range(3)])
    return engine


def test_all_shards_are_one_array_with_the_options(slurm: Path) -> None:
    started(
        slurm, partition="gpu", account="lab", qos="low", time="90", gpus="2", cpus="6",
        memory_gb="32", array="2", setup="module load cuda",
    )  # fmt: skip
    script = (slurm / "script").read_text()
    for line in (
        "partition=gpu", "account=lab", "qos=low", "time=90", "gpus-per-node=2", "cpus-per-task=6",
        "mem=32GB", "array=0-2%2", "requeue",
    ):  # fmt: skip
        assert f"#SBATCH --{line}\n" in script
    assert "\nmodule load cuda\n" in script
    assert (slurm / "calls").read_text().count("sbatch") == 1


def test_states_of_slurm_tell_which_jobs_are_lost(
    slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evalkit.engines.slurm.LATE", -1)
    (slurm / "states").write_text(
        "JobID|State|NodeList\n77_0|NODE_FAIL|a\n77_1|CANCELLED by 1000|b\n77_2|RUNNING|c\n"
    )
    engine = started(slurm)
    assert not list(engine.ended())  # an answer may be younger than the listing of the folder
    ended = {one.task.index: one for one in engine.ended()}
    assert ended.keys() == {0, 1}
    [folder] = (slurm / "run" / "logs" / "slurm").iterdir()
    assert ended[0].failure == (
        f"its job 77_0 ended without an answer (state NODE_FAIL, see {folder / '77_0_0_log.err'})"
    )
    assert ended[0].again
    assert not ended[1].again  # somebody wanted its end
    (slurm / "states").write_text("JobID|State|NodeList\n77_2|PREEMPTED|c\n")
    monkeypatch.setattr("evalkit.engines.slurm.ASK", 0)
    assert not list(engine.ended())
    [last] = engine.ended()
    assert (last.task.index, last.again) == (2, True)


def test_what_still_runs_is_cancelled_at_the_end(slurm: Path) -> None:
    engine = started(slurm)
    assert not list(engine.ended())
    engine.stop()
    assert (slurm / "calls").read_text().splitlines()[-1] == "scancel 77"


def test_a_refusal_of_slurm_is_one_sentence(slurm: Path) -> None:
    (slurm / "refusal").write_text("sbatch: error: invalid partition specified: gpu\n")
    with pytest.raises(EvalkitError, match="invalid partition specified: gpu"):
        started(slurm, partition="gpu")


def test_a_cluster_without_states_of_jobs_is_refused(slurm: Path) -> None:
    (slurm / "sacct").write_text("#!/bin/sh\necho Slurm accounting storage is disabled >&2\nexit 1")
    with pytest.raises(EvalkitError, match="accounting storage is disabled"):
        started(slurm)
