"""Damaged files of a run folder are one sentence that names the file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import evalkit
from evalkit.core import EvalkitError


@pytest.fixture
def run(tmp_path: Path) -> evalkit.Run:
    return evalkit.run(
        ["noise"], ["a", "b", "c"], encoders="pixels", metrics=["duplicates"], out=tmp_path / "r"
    )


def changed(path: Path, change: Callable[[dict], object]) -> None:
    """Change the first row of a JSON or JSON lines file."""
    if path.suffix == ".jsonl":
        first, *rest = path.read_text().splitlines()
        row = json.loads(first)
        change(row)
        path.write_text("\n".join([json.dumps(row), *rest]) + "\n")
    else:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))


DAMAGE: list[tuple[str, Callable[[dict], object]]] = [
    ("metrics.json", lambda file: file["rows"][0].update(value="high")),
    ("metrics.json", lambda file: file["rows"][0].update(value=float("nan"))),
    ("metrics.json", lambda file: file["rows"][0].update(note=None)),
    ("metrics.json", lambda file: file.update(schema=2)),
    ("prompts.jsonl", lambda row: row.update(id=5)),
    ("prompts.jsonl", lambda row: row.update(text=None)),
    ("images/noise/model.json", lambda file: file.update(label=5)),
    ("images/noise/manifest.0.jsonl", lambda row: row.update(sample="x")),
    ("images/noise/manifest.0.jsonl", lambda row: row.update(status="fine")),
    ("images/noise/manifest.0.jsonl", lambda row: row.update(cost=[1])),
]


@pytest.mark.parametrize(("name", "change"), DAMAGE)
def test_fields_of_another_type(
    run: evalkit.Run, name: str, change: Callable[[dict], object]
) -> None:
    changed(run.path / name, change)
    with pytest.raises(EvalkitError, match="is damaged, or was written by another") as found:
        evalkit.report(run.path)
    assert name in found.value.message


@pytest.mark.parametrize("stays", [False, True])
def test_images_of_a_model_without_its_file(run: evalkit.Run, stays: bool) -> None:
    (run.path / "images/noise/model.json").unlink()
    if stays:
        (run.path / "images/noise/model.json").symlink_to("nowhere")
    for command in (evalkit.tables, evalkit.report, evalkit.score):
        with pytest.raises(EvalkitError, match=r"images/noise/model\.json is (missing|damaged)"):
            command(run.path)


OTHER = [
    *(("metrics.json", content) for content in ("", "{", "[" * 100_000, "[]", "null")),
    *(
        ("protocol.json", content)
        for content in ("", "{", "[" * 100_000, "null", "[1]", "[]", '{"schema": 99}')
    ),
    *(("scores.csv", content) for content in ("a,b\n1,2\n", "model,index\nnoise,0\n")),
]


@pytest.mark.parametrize(("name", "content"), OTHER)
def test_files_with_other_content(run: evalkit.Run, name: str, content: str) -> None:
    (run.path / name).write_text(content)
    with pytest.raises(EvalkitError, match="is damaged, or was written by another") as found:
        evalkit.report(run.path)
    assert name in found.value.message


def test_the_hint_writes_the_file_again_with_the_settings_of_the_run(run: evalkit.Run) -> None:
    before = run.metrics()
    run.metrics_path.unlink()
    with pytest.raises(EvalkitError) as found:
        evalkit.figures(run.path)
    assert found.value.hint == f"Write it again with `evalkit score {run.path}`."
    assert evalkit.score(run.path) == run.metrics() == before


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"encoders": 3},
        {"versions": []},
        {"blind_encoders": 7},
        {"blind_encoders": "mini"},
        {"measures": {"fid": 3}},
        {"measures": {"fid": {"title": 5}}},
        {"measures": {"fid": {"range": [1]}}},
        {"measures": {"fid": {"range": ["0", 1]}}},
        {"encoders": {"image": {"name": ["x"]}}},
    ],
)
def test_a_protocol_of_other_types_is_damaged(tmp_path, content):
    run = evalkit.Run(tmp_path)
    run.write_protocol(content)
    with pytest.raises(EvalkitError, match=r"protocol\.json is damaged"):
        run.protocol()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.parametrize(
    "name", ["prompts.jsonl", "images/noise/model.json", "images/noise/manifest.0.jsonl"]
)
def test_a_named_pipe_in_the_place_of_a_file_is_not_waited_for(run: evalkit.Run, name: str) -> None:
    (run.path / name).unlink()
    os.mkfifo(run.path / name)
    with pytest.raises(EvalkitError, match=f"{name} is damaged"):
        evalkit.score(run.path, metrics="vendi", encoders="pixels")
