"""Shards on a Ray cluster of several nodes on this machine: nodes go and come, reasons are said."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit.core import EvalkitError
from evalkit.engines import load
from evalkit.engines.task import Task

ray = pytest.importorskip("ray")

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20}
PROMPTS = [f"a red cube {at}" for at in range(12)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes with a core each. Nothing is connected to it."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        for _ in range(2):
            made.add_node(**NODE)
        yield made
    finally:
        made.shutdown()


def options(cluster: Any, **others: Any) -> dict[str, Any]:
    return {"ray": {"address": cluster.address, **others}}


def test_a_node_may_go_and_another_come(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One node goes while all three make images; then another one comes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_model.py").write_text(WAITS)
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    command = "generate --models my_model:draw --prompts prompts.txt --out run --engine ray"
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}
    with (tmp_path / "out").open("w") as out, (tmp_path / "log").open("w") as err:
        running = subprocess.Popen(
            [sys.executable, "-m", "evalkit", *command.split(), "--shards", "6"],
            stdout=out, stderr=err, env=environment,
        )  # fmt: skip
        try:
            while len(list(tmp_path.glob("started.*"))) < 3:
                assert running.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
            cluster.add_node(**NODE)
            (tmp_path / "go").touch()
            code = running.wait(300)
        finally:
            running.kill()
            running.wait()
    said = (tmp_path / "log").read_text()
    assert code == 0, said
    assert said.count("it is started again") == 1
    assert re.search(r"shard \d/6: .* node .*; it is started again", said)
    assert "a shard takes 1 CPUs and 0 GPUs of Ray" in said
    assert (tmp_path / "out").read_text() == "run\n"  # no words of Ray or of the model
    once = evalkit.generate("my_model:draw", PROMPTS, out="once")
    shas = [
        [(row.index, row.sample, row.sha256, row.seed) for row in run.records("my_model:draw")]
        for run in (evalkit.Run("run"), once)
    ]
    assert len(shas[0]) == len(PROMPTS)
    assert shas[0] == shas[1]


WAITS = """
import os, pathlib, time
from PIL import Image
def draw(prompts, seeds):
    pathlib.Path(f"started.{os.getpid()}").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.05)
    for _ in seeds:
        print("drawn", flush=True)
    return [Image.new("RGB", (8, 8), (seed % 251, 9, seed % 13)) for seed in seeds]
"""


def test_an_interrupt_ends_the_workers(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_model.py").write_text(WAITS)  # for a file that never comes
    command = f"{sys.executable} -m evalkit generate --models my_model:draw --prompts p.txt"
    command += f" --out run --engine ray --shards 3 --set ray.address={cluster.address}"
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS))
    running = subprocess.Popen(command.split(), stderr=subprocess.DEVNULL)
    try:
        while not (started := list(tmp_path.glob("started.*"))):
            assert running.poll() is None
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        assert running.wait(120) == 130
    finally:
        running.kill()
        running.wait()
    for path in started:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.suffix[1:]), 0)


def test_all_failures_are_said_and_the_environment_reaches_workers(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_model.py").write_text(FAILS)
    (tmp_path / "beside" / "words").mkdir(parents=True)
    (tmp_path / "beside" / "words" / "__init__.py").write_text("second = 'a second reason'")
    environment = tmp_path / "environment.yaml"
    environment.write_text(
        "env_vars: {REASON: a first reason}\npy_modules: [beside/words]\n", encoding="utf-8"
    )
    with pytest.raises(EvalkitError) as error:
        evalkit.generate(
            "my_model:draw", PROMPTS[:4], out="run", engine="ray", shards=4,
            options=options(cluster, runtime_env=str(environment)),
        )  # fmt: skip
    said = error.value.message
    assert said.startswith("2 of 4 shards failed: 1/4: ")
    first, _, second = said.partition("3/4: ")
    assert "a first reason" in first
    assert "a second reason" in second
    assert [row.index for row in evalkit.Run("run").records("my_model:draw")] == [0, 2]


FAILS = """
import os
from PIL import Image
def draw(prompts, seeds):
    if prompts[0].endswith("1"):
        raise RuntimeError(os.environ["REASON"])
    if prompts[0].endswith("3"):
        import words
        raise ValueError(words.second)
    return [Image.new("RGB", (8, 8), (9, 9, 9)) for seed in seeds]
"""


def test_what_ray_cannot_do_is_said(
    cluster: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "evalkit")
    engine = load("ray", {"address": cluster.address, "cpus": "0.5"})
    try:
        assert engine.workers == 6
        engine.start([Task("encode", str(tmp_path / "elsewhere"), 0, 1, str(tmp_path))])
        ended: list[Any] = []
        while not ended:
            ended += engine.ended()
    finally:
        engine.stop()
    assert [(one.task.index, one.again) for one in ended] == [(0, False)]
    assert "expected a file system that all nodes of the cluster share" in ended[0].failure
    assert not (tmp_path / "elsewhere").exists()
    engine = load("ray", {"address": cluster.address, "cpus": "2"})
    try:  # until stopped, it waits for a node with two cores
        assert engine.workers == 1
        engine.start([Task("encode", str(tmp_path), 0, 1, str(tmp_path))])
        assert list(engine.ended()) == []
        assert caplog.text.count("No node of the Ray cluster has what a shard needs (2 CPU)") == 1
    finally:
        engine.stop()


@pytest.mark.parametrize(("device", "gpus"), [("auto", 1), ("cpu", 0)])
def test_a_shard_takes_a_gpu_where_it_may_use_one(
    cluster: Any, device: str, gpus: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "evalkit")
    node = cluster.add_node(**{**NODE, "num_gpus": 1})
    engine = load("ray", {"address": cluster.address})
    try:
        assert engine.workers == 1
        engine.start([Task("encode", str(tmp_path), 0, 1, str(tmp_path), {"device": device})])
        while not list(engine.ended()):
            pass
    finally:
        engine.stop()
        cluster.remove_node(node)
    assert f"a shard takes 1 CPUs and {gpus} GPUs of Ray" in caplog.text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cpus": "many"}, "ray.cpus is 'many'; expected a number"),
        ({"cpus": 0}, "ray.cpus is 0"),
        ({"gpus": "some"}, "ray.gpus is 'some'; expected a number"),
        ({"gpus": 1.5}, "ray.gpus is 1.5; expected a whole number"),
        ({"memory_gb": -1}, "ray.memory_gb is -1"),
        ({"address": "ray://host:1"}, "expected host:port"),
        ({"address": "127.0.0.1:1"}, "No Ray cluster answers at '127.0.0.1:1'"),
        ({"runtime_env": "{"}, "ray.runtime_env is not JSON"),
        ({"runtime_env": "nowhere.yaml"}, "cannot be read"),
        ({"runtime_env": '{"pips": []}'}, "has 'pips', which Ray does not know"),
        ({"runtime_env": '{"env_vars": {"A": 1}}'}, "is refused by Ray"),
        ({"runtime_env": {"env_vars": {"MY_API_KEY": "abc"}}}, "sets the variable MY_API_KEY"),
        ({"runtime_env": {"pip": ["--index https://me:abc@host"]}}, "a URL with a password"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_wrong_options_are_refused(
    given: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EvalkitError) as error:
        evalkit.generate("noise", PROMPTS, out="run", engine="ray", options={"ray": given})
    assert said in error.value.message
    assert "abc" not in f"{error.value.message} {error.value.hint}"
    assert not ray.is_initialized()


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EvalkitError) as error:
        evalkit.generate("noise", PROMPTS, out=tmp_path / "run", engine="ray")
    assert error.value.message == "The engine ray needs ray, which is not installed."
    assert "pip install '.[ray]'" in error.value.hint
    assert not (tmp_path / "run").exists()
