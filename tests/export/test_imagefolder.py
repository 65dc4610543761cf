"""`evalkit export imagefolder`: a data set that the `datasets` library loads as it is."""

import errno
import json
import re
from pathlib import Path

import pytest
import yaml
from report_runs import make_run
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.run_folder import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", hostile=True)


def load(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    return datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(cache))["train"]


def test_datasets_loads_images_prompts_and_scores(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = evalkit.export_imagefolder(run, out=tmp_path / "data")
    found = load(folder, tmp_path / "cache", monkeypatch)
    prompts = run.prompts()
    scores = {
        (row["model"], int(row["index"]), int(row["sample"])): float(row["value"])
        for row in run.scores()
    }
    expected = [
        (model, prompts[one.index].text, one.sample, one.seed, scores.get((model, one.index, 0)))
        for model in run.models()
        for one in run.records(model)
        if one.status == "ok"
    ]
    rows = [
        (row["model"], row["prompt"], row["sample"], row["seed"], row["clip_score"])
        for row in found
    ]
    assert sorted(rows, key=str) == sorted(expected, key=str)
    first = run.image_path("dalle", run.records("dalle")[0])
    assert (folder / "dalle" / first.name).read_bytes() == first.read_bytes()


def test_images_that_do_not_exist_are_stated(run: Run, tmp_path: Path) -> None:
    folder = evalkit.export_imagefolder(run, out=tmp_path / "data")
    lost = [json.loads(line) for line in (folder / "not_made.jsonl").read_text().splitlines()]
    assert {(row["model"], row["status"]) for row in lost} == {
        ("dalle", "refused_input"),
        ("gan", "transient"),
    }
    assert "| dalle | 40 | 39 | 1 | 0 | 0 |" in (folder / "README.md").read_text()
    assert "| gan | 40 | 39 | 0 | 1 | 0 |" in (folder / "README.md").read_text()


def test_images_without_a_row_in_the_manifest_are_stated(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    [manifest] = (run.path / "images" / "gan").glob("manifest.*.jsonl")
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:30]))
    folder = evalkit.export_imagefolder(run, out=tmp_path / "data", models="gan")
    lost = [json.loads(line) for line in (folder / "not_made.jsonl").read_text().splitlines()]
    unknown = [row for row in lost if row["status"] == "missing"]
    assert len(unknown) == 10
    assert "gan: 10 of 40 requested images have no row in the manifest" in caplog.text
    assert {(row["detail"], row["seed"]) for row in unknown} == {("no row in the manifest", None)}
    assert re.search(
        r"\| gan \| 40 \| \d+ \| 0 \| \d+ \| 10 \|", (folder / "README.md").read_text()
    )


def test_the_command_takes_named_models(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "data"
    command = ["export", "imagefolder", str(run.path), "--out", str(out), "--models", "gan"]
    said = CliRunner().invoke(app, command)
    assert (said.exit_code, said.stdout) == (0, f"{out}\n")
    lines = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert {line["model"] for line in lines} == {"gan"}
    assert all((out / line["file_name"]).is_file() for line in lines)


def test_several_encoders_have_a_column_each(run: Run, tmp_path: Path) -> None:
    columns = ("model", "index", "sample", "metric", "encoder", "value")
    rows = [tuple(row[name] for name in columns) for row in run.scores()]
    run.write_scores([*rows, ("gan", 0, 0, "clip_score", "clip-b32", 31.5)])
    folder = evalkit.export_imagefolder(run, out=tmp_path / "data", models="gan")
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert [line["clip_score@clip-b32"] for line in lines[:2]] == [31.5, None]
    assert "clip_score" not in lines[0]


def test_bad_input_writes_nothing(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "data"
    with pytest.raises(EvalkitError, match=r"no model 'gam'. Did you mean 'gan'"):
        evalkit.export_imagefolder(run, out=out, models="gam")
    run.image_path("gan", run.records("gan")[0]).unlink()
    with pytest.raises(EvalkitError, match=r"1 of \d+ images is invalid \(1 cannot be read\)"):
        evalkit.export_imagefolder(run, out=out)
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(EvalkitError, match="is not empty"):
        evalkit.export_imagefolder(run, out=out, models="dalle")
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_a_score_that_is_not_finite_is_null(run: Run, tmp_path: Path) -> None:
    rows = [tuple(row.values()) for row in run.scores()]
    run.write_scores([(*rows[0][:-1], "nan"), (*rows[1][:-1], "inf"), *rows[2:]])
    folder = evalkit.export_imagefolder(run, out=tmp_path / "data")
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert sum(line["clip_score"] is None for line in lines) == 2


def test_a_failure_leaves_no_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfile", full)
        with pytest.raises(EvalkitError, match=r"Could not write .*: No space left"):
            evalkit.export_imagefolder(run, out=tmp_path / "new" / "data")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").touch()
    command = ["export", "imagefolder", str(run.path), "--out", str(tmp_path / "file" / "x")]
    said = CliRunner().invoke(app, command)
    assert (said.exit_code, "Could not write" in said.stderr) == (2, True)
    with pytest.raises(EvalkitError, match="is inside of the run"):
        evalkit.export_imagefolder(run, out=run.path / "images" / "data")


def test_the_name_of_the_data_set_is_yaml(tmp_path: Path) -> None:
    made = make_run(tmp_path / "tests \U0001f600: \u202e é", 10, hostile=False)
    (tmp_path / "data").mkdir()
    text = (evalkit.export_imagefolder(made, out=tmp_path / "data") / "README.md").read_text()
    assert yaml.safe_load(text.split("---")[1])["pretty_name"] == "tests 😀: ⟨U+202E⟩ é"
