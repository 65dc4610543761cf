"""`evalkit export hub`: files that huggingface_hub reads back, with all that a value depends on."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import EvalResultEntry, parse_eval_result_entries
from report_runs import make_run
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.run_folder import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run")


def read(path: Path) -> EvalResultEntry:
    [entry] = parse_eval_result_entries(yaml.safe_load(path.read_text(encoding="utf-8")))
    return entry


def test_each_value_of_images_is_a_file_with_its_protocol(run: Run, tmp_path: Path) -> None:
    made = evalkit.export_hub(run, dataset="me/prompts", out=tmp_path, model="gan", on="2026-11-29")
    rows = [row for row in run.metrics() if row.model == "gan" and row.encoder]
    measured = [row for row in rows if row.value is not None]
    assert len(made) == len(measured) == len(set(made))
    for row, path in zip(measured, made, strict=True):
        entry = read(path)
        assert path.parent == tmp_path / ".eval_results"
        assert (entry.dataset_id, entry.task_id) == ("me/prompts", row.metric)
        assert (entry.value, entry.date) == (row.value, "2026-11-29")
        assert entry.notes is not None
        for part in (
            row.encoder,
            row.reference,
            f"{row.count} of {row.requested}",
            row.caution,
            "comparable only with",
        ):
            assert part in entry.notes


def test_the_command_writes_the_named_metrics_and_tasks(run: Run, tmp_path: Path) -> None:
    command = ["export", "hub", str(run.path), "--model", "dalle", "--dataset", "me/p"]
    options = ["--metrics", "fid", "--task", "fid=quality", "--source-url", "https://x.org/run"]
    said = CliRunner().invoke(app, [*command, "--out", str(tmp_path), *options])
    assert said.exit_code == 0, said.output
    entry = read(Path(said.stdout.strip()))
    assert (entry.task_id, entry.source_url) == ("quality", "https://x.org/run")


def test_values_of_encoders_that_do_not_know_the_images_are_left_out(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blind = sorted({row.encoder for row in run.metrics() if row.metric == "fid"})
    run.write_protocol(run.protocol() | {"blind_encoders": blind})
    made = evalkit.export_hub(run, dataset="me/p", out=tmp_path, model="gan")
    assert made
    assert not [path for path in made if blind[0] in path.name]
    assert f"left out: fid: {blind[0]} was not trained on such images" in caplog.text
    every = sorted({row.encoder for row in run.metrics()})
    run.write_protocol(run.protocol() | {"blind_encoders": every})
    with pytest.raises(EvalkitError, match="no value of gan that may be published"):
        evalkit.export_hub(run, dataset="me/p", out=tmp_path, model="gan")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dataset": "prompts"}, "expected owner/name"),
        ({"model": ""}, "has 2 models"),
        ({"model": "gam"}, "no scored model 'gam'. Did you mean 'gan'"),
        ({"metrics": "fidd"}, "'fidd' is not measured for gan"),
        ({"task": ["fid"]}, "expected METRIC=TASK"),
        ({"task": ["kidd=a"]}, "no value of 'kidd'"),
        ({"task": ["fid=a b"]}, "The task of fid is 'a b'"),
        ({"on": "yesterday"}, "expected a day"),
        ({"source_url": "javascript:1"}, "expected an address"),
        ({"source_url": "https://example.org/a\nb: c"}, "expected an address"),
        ({"metrics": ""}, "`--metrics ''` names nothing"),
    ],
)
def test_wrong_input_is_named_and_nothing_is_written(
    run: Run, tmp_path: Path, given: dict, message: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(EvalkitError, match=message):
        evalkit.export_hub(run, **{"dataset": "me/p", "model": "gan", **given}, out=out)
    assert not out.exists()


def test_a_run_without_scores_is_refused(tmp_path: Path) -> None:
    run = evalkit.generate("noise", ["a cat"], out=tmp_path / "run")
    with pytest.raises(EvalkitError, match=r"has no metrics.json"):
        evalkit.export_hub(run, dataset="me/p", out=tmp_path / "out")


def test_values_of_one_metric_do_not_overwrite_each_other(run: Run, tmp_path: Path) -> None:
    rows = run.metrics()
    fid = next(row for row in rows if (row.model, row.metric, row.on) == ("gan", "fid", "answered"))
    more = [replace(fid, reference=name, value=value) for name, value in (("a/b", 1), ("a_b", 2))]
    run.write_metrics([*rows, *more])
    made = evalkit.export_hub(run, dataset="me/p", model="gan", metrics="fid", out=tmp_path)
    assert [read(path).value for path in made] == [fid.value, 1, 2]
    assert "a_b" in made[1].name
