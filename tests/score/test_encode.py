"""`encode` in shards: one process scores what several have encoded, and gets the same numbers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from lock_holder import held

import evalkit
from evalkit.core import EvalkitError
from evalkit.score import records

MODEL = "models_for_tests:plain"
PROMPTS = [f"a red cube {at % 5}" for at in range(11)]
METRICS = "fid,clip_score,mini_judge,retrieval_precision"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two images per prompt, which nobody has encoded."""
    out = tmp_path_factory.mktemp("encode") / "run"
    evalkit.generate(["noise", MODEL], PROMPTS, per_prompt=2, out=out)
    return out


def score(run: Path) -> tuple[Any, bytes]:
    """All rows but those of times, and scores.csv."""
    rows = evalkit.score(run, metrics=METRICS, encoders="mini")
    rows = [row for row in rows if row.metric not in records.MEASURES]
    assert {row.metric for row in rows if row.value is not None} >= {"fid", "clip_score"}
    return rows, (run / "scores.csv").read_bytes()


def encode(run: Path, *shards: str) -> None:
    for shard in shards:
        evalkit.encode(run, metrics=METRICS, encoders="mini", shard=shard)


def whole_caches(run: Path) -> Sequence[Path]:
    """What one process writes that encodes everything."""
    return [*run.glob("features/*/*.npz"), *run.glob("features/*/*.jsonl")]


def copy(made: Path, to: Path) -> Path:
    return Path(shutil.copytree(made, to))


def test_shards_give_the_numbers_of_one_process(made: Path, tmp_path: Path) -> None:
    expected = score(copy(made, tmp_path / "whole"))
    shards = copy(made, tmp_path / "shards")
    encode(shards, "2/3", "0/3", "1/3")
    assert score(shards) == expected
    assert not whole_caches(shards)  # nothing was left to encode
    assert score(shards) == expected


def test_another_division_encodes_what_is_missing(made: Path, tmp_path: Path) -> None:
    expected = score(copy(made, tmp_path / "whole"))
    run = copy(made, tmp_path / "run")
    encode(run, "1/4")  # then a machine is gone
    before = {path: path.read_bytes() for path in run.glob("features/*/shards/*/*.npz")}
    encode(run, "0/2", "1/2", "1/2")
    assert {path: path.read_bytes() for path in before} == before
    assert score(run) == expected
    assert not whole_caches(run)
    lines = [path.read_text() for path in run.glob("features/noise/shards/*/*.jsonl")]
    assert "".join(lines).count("\n") == 22


def test_what_shards_have_not_encoded_is_encoded_by_score(made: Path, tmp_path: Path) -> None:
    expected = score(copy(made, tmp_path / "whole"))
    run = copy(made, tmp_path / "run")
    encode(run, "0/2")
    assert score(run) == expected
    again = copy(run, tmp_path / "again")
    for path in again.glob("features/*/shards/*/*.npz"):  # as a disk may leave them
        path.write_bytes(path.read_bytes()[:-2000])
    assert score(again) == expected
    encode(again, "0/1")
    assert score(again) == expected


def test_a_run_grows_after_it_was_encoded_in_shards(made: Path, tmp_path: Path) -> None:
    run, whole = copy(made, tmp_path / "run"), copy(made, tmp_path / "whole")
    encode(run, "0/2", "1/2")
    for path in (run, whole):
        evalkit.generate(prompts=[*PROMPTS, "a blue ball"], out=path)
    assert score(run) == score(whole)


def test_a_comparison_takes_over_what_shards_have_encoded(made: Path, tmp_path: Path) -> None:
    run = copy(made, tmp_path / "run")
    encode(run, "0/2", "1/2")
    score(run)
    other = tmp_path / "other"
    evalkit.generate(["noise", MODEL], PROMPTS, per_prompt=2, out=other, seed=7)
    evalkit.score(other, metrics=METRICS, encoders="mini")
    both = tmp_path / "both"
    evalkit.compare([run, other], out=both, allow_mismatch=["seed", "image_size"])
    assert len([*both.glob("features/*/shards/*-of-2/mini-inception.npz")]) == 4


def test_one_process_for_each_shard(made: Path, tmp_path: Path) -> None:
    run = copy(made, tmp_path / "run")
    with held(run / ".encoding.0-of-2.lock"):
        for shard, said in (
            ("0/2", r"encoding the images of .*run \(shard 0/2\)\."),
            ("1/3", r"\(shard 0/2\), which excludes shard 1/3\."),
            ("0/1", r"\(shard 0/2\), which excludes the whole run\."),
        ):
            with pytest.raises(EvalkitError, match=said):
                encode(run, shard)
        encode(run, "1/2")
    encode(run, "1/3")


def test_images_without_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="is not a run folder") as error:
        evalkit.encode(tmp_path)
    assert "evalkit score" in error.value.hint


def test_a_shard_beside_an_engine_is_refused(made: Path) -> None:
    with pytest.raises(EvalkitError, match="Both a shard and an engine"):
        evalkit.encode(made, shard="1/2", engine="local", shards=2)
