"""Shards by an engine: what is started again, what is said, and what a run becomes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from lock_holder import held

import evalkit
from evalkit.core import EvalkitError
from evalkit.engines import Ended
from evalkit.engines.drive import drive
from evalkit.engines.task import Task
from evalkit.score import records
from evalkit.worker import perform

PROMPTS = [f"a red cube {at}" for at in range(9)]
METRICS = "fid,clip_score"


class Scripted:
    """An engine whose shards end as a table says, one after the other."""

    workers = 2

    def __init__(self, ends: dict[int, list[tuple[str, bool]]]) -> None:
        self.ends, self.started, self.waiting = ends, list[int](), list[Task]()

    def start(self, tasks: Sequence[Task]) -> None:
        self.started += [task.index for task in tasks]
        self.waiting += tasks

    def ended(self) -> Iterable[Ended]:
        if self.waiting:
            task = self.waiting.pop()
            script = self.ends.get(task.index, [])
            yield Ended(task, *(script.pop(0) if script else ("", False)))

    def stop(self) -> None: ...


def tasks(count: int) -> list[Task]:
    return [Task("encode", "/nowhere", index, count, "/", {}) for index in range(count)]


def test_a_shard_whose_worker_dies_is_started_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "evalkit")
    engine = Scripted({1: [("a node is gone", True)] * 2})
    drive(engine, tasks(4))
    assert sorted(engine.started) == [0, 1, 1, 1, 2, 3]
    assert caplog.text.count("shard 1/4: a node is gone; it is started again") == 2


def test_every_failed_shard_is_said_with_its_reason() -> None:
    wrong, gone = ("the key is wrong", False), ("a node is gone", True)
    engine = Scripted({0: [wrong], 2: [gone] * 9, 3: [wrong]})
    with pytest.raises(EvalkitError) as error:
        drive(engine, tasks(4))
    assert error.value.message == (
        "3 of 4 shards failed: 0/4, 3/4: the key is wrong; 2/4: a node is gone"
    )
    assert sorted(engine.started) == [0, 1, 2, 2, 2, 3]  # what no other try can mend has one


def test_an_engine_makes_the_run_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Real processes, one of which dies the first time."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_model.py").write_text(DIES_ONCE)
    (tmp_path / "secrets.py").write_text("raise SystemExit(5)")  # a name of Python's own modules
    settings: dict[str, Any] = {"metrics": METRICS, "encoders": "mini", "per_prompt": 2}
    options = {"local": {"workers": "2"}}
    made = evalkit.run(
        ["noise", "my_model:draw"], PROMPTS, out="run", engine="local", shards=3, options=options,
        **settings,
    )  # fmt: skip
    assert (tmp_path / "died").exists()
    once = evalkit.run(["noise", "my_model:draw"], PROMPTS, out="once", **settings)
    assert made.scores_path.read_bytes() == once.scores_path.read_bytes()
    rows = [[r for r in run.metrics() if r.metric not in records.MEASURES] for run in (made, once)]
    assert rows[0] == rows[1]
    for model in ("noise", "my_model:draw"):
        assert made.records(model)[0].file == once.records(model)[0].file
        shas = [[(r.index, r.sample, r.sha256) for r in run.records(model)] for run in (made, once)]
        assert shas[0] == shas[1]
    assert "drawn" not in capfd.readouterr().out  # the prints of a model are no results
    assert sorted(path.name for path in (made.path / "logs").iterdir()) == [
        f"{stage}.{at}-of-3.txt" for stage in ("encode", "generate") for at in range(3)
    ]


DIES_ONCE = """
import os, pathlib, signal, time
from PIL import Image
def draw(prompts, seeds):
    print("drawn")
    try:
        pathlib.Path("died").touch(exist_ok=False)
    except FileExistsError:
        return [Image.new("RGB", (8, 8), (seed % 251, 9, seed % 13)) for seed in seeds]
    if os.fork() == 0:  # as a pool of processes, which outlives its parent
        time.sleep(60)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"engine": "slurn"}, "There is no engine 'slurn'"),
        ({"engine": "local", "shards": 0}, "shards is 0; expected 1 or more"),
        ({"shards": 4}, "no engine that runs them"),
        ({"engine": "local", "options": {"local": {"worker": 2}}}, "no option 'worker'"),
        ({"engine": "local", "options": {"local": {"workers": "two"}}}, "expected a whole number"),
        ({"engine": "local", "options": {"local": {"workers": -1}}}, "expected 1 or more"),
        ({"engine": "local", "models": {"a": lambda prompts, seeds: []}}, "is a function of this"),
    ],
)
def test_wrong_engines_are_refused(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(EvalkitError) as error:
        evalkit.generate(
            **{"models": "noise", "prompts": PROMPTS, "out": tmp_path / "r"} | settings
        )
    assert said in error.value.message
    assert not (tmp_path / "r").exists()


def test_one_command_starts_shards_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "run"
    evalkit.generate("noise", PROMPTS[:1], out=out)
    with held(out / ".engine.lock"), pytest.raises(EvalkitError, match=r"has shards of .* at work"):
        evalkit.encode(out, engine="local")
    with pytest.raises(EvalkitError, match="Both a shard and"):
        evalkit.generate(out=out, engine="local", shard="0/2")


def test_a_limit_of_cost_ends_an_engine_as_it_ends_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dear.py").write_text(DEAR)
    given: dict[str, Any] = {"models": "dear:load", "prompts": PROMPTS, "max_cost": 1.5}
    for out, more in (("one", {}), ("two", {"engine": "local", "shards": 1})):
        with pytest.raises(EvalkitError, match="max_cost") as error:
            evalkit.generate(**given, out=out, **more)
        assert error.value.exit_code == 3


DEAR = """
from evalkit.core import Answer
from PIL import Image
class Dear:
    price, fingerprint = 1.0, "dear"
    def request(self, prompt, seed, sample):
        return Answer("ok", Image.new("RGB", (8, 8)), cost=1.0)
def load():
    return Dear()
"""


def test_what_fails_beside_the_rest_is_said_by_an_engine_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fails.py").write_text(FAILS)
    made = evalkit.generate("noise", PROMPTS[:2], out="run")
    with pytest.raises(EvalkitError, match=r"1 of 1 shards failed: 0/1: The scorer 'fails' failed"):
        evalkit.encode(made, metrics="fails:FAILS", engine="local", shards=1)
    assert evalkit.encode(made, metrics="mini_judge", engine="local", shards=1).path == made.path


FAILS = """
from evalkit import Scorer
class Loaded:
    name, fingerprint = "fails", "1"
    def __call__(self, images, prompts):
        raise ValueError("no")
FAILS = Scorer("fails", "higher", Loaded, title="Fails")
"""


def test_the_log_of_a_shard_has_the_code_of_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task = Task("generate", str(tmp_path / "run"), 0, 2, str(tmp_path))
    said, exit_code = perform(task)
    assert (said.startswith("the configuration names no models."), exit_code) == (True, 2)
    assert re.search(r"names no models\. .* \[config-\d+\]$", task.log_path.read_text().strip())
