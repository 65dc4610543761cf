"""`evalkit export tracker`: the same numbers and files in each real library, offline."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from forked import Command
from pages import code
from report_runs import make_run
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.run_folder import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = make_run(tmp_path / "first", hostile=False)
    evalkit.report(run)
    return run


def numbers(run: Run) -> dict[str, float]:
    return json.loads((run.path / "metrics.flat.json").read_text())


class Kept:
    """A tracker of the user's own."""

    def log(self, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        self.metrics, self.files = dict(metrics), list(files)


def test_an_object_receives_numbers_and_files(run: Run) -> None:
    kept = Kept()
    assert evalkit.export_tracker(run, kept) == kept.metrics == numbers(run)
    fid = next(row for row in run.metrics() if row.metric == "fid" and row.on == "answered")
    assert fid.value in kept.metrics.values()
    names = {path.relative_to(run.path).as_posix() for path in kept.files}
    assert {"metrics.json", "scores.csv", "report/index.html", "report/report.md"} <= names
    assert not any("images/" in name and name.startswith("images") for name in names)


def test_tensorboard_has_each_number(run: Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    said = CliRunner().invoke(app, ["export", "tracker", str(run.path), "tensorboard"])
    assert (said.exit_code, said.stdout) == (0, f"{len(numbers(run))} numbers logged\n")
    events = EventAccumulator(str(run.path / "tensorboard" / "first")).Reload()
    found = {tag: events.Scalars(tag)[0].value for tag in events.Tags()["scalars"]}
    assert found == pytest.approx(numbers(run), rel=1e-6)


def test_mlflow_has_each_number_and_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes the whole package
    import mlflow

    evalkit.export_tracker(run, "mlflow", name="nightly")
    [found] = mlflow.search_runs(output_format="list")
    assert found.info.run_name == "nightly"
    assert found.data.metrics["dalle/fid low"] == numbers(run)["dalle/fid/low"]
    assert sorted(found.data.metrics.values()) == sorted(numbers(run).values())
    folder = Path(found.info.artifact_uri.removeprefix("file://"))
    assert (folder / "report" / "index.html").is_file()
    assert (folder / "metrics.json").read_bytes() == run.metrics_path.read_bytes()


def test_wandb_has_each_number(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    import wandb

    kept: dict[str, float] = {}
    files: list[str] = []
    start = wandb.init

    def started(**settings: str) -> wandb.Run:
        """A run whose summary is read while it is open: it is empty afterwards."""
        made = start(**settings)
        log = made.log_artifact

        def logged(artifact: wandb.Artifact) -> object:
            kept.update({name: made.summary[name] for name in made.summary.keys()})  # noqa: SIM118
            files.extend(artifact.manifest.entries)
            return log(artifact)

        monkeypatch.setattr(made, "log_artifact", logged)
        return made

    monkeypatch.setattr(wandb, "init", started)
    evalkit.export_tracker(run, "wandb", name="a run")
    assert kept == numbers(run)
    assert {"metrics.json", "report/index.html"} <= set(files)
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


class Fails:
    def log(self, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        raise ConnectionError("no route to host")


class Refuses:
    def log(self, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        raise EvalkitError("The store is full.", "Empty it.", code="store-1")


def test_what_goes_wrong_is_one_sentence(run: Run, tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match=r"no tracker 'wanb'. Did you mean 'wandb'"):
        evalkit.export_tracker(run, "wanb")
    with pytest.raises(EvalkitError, match="'Fails' failed: ConnectionError: no route to host"):
        evalkit.export_tracker(run, Fails())
    with pytest.raises(EvalkitError) as error:
        evalkit.export_tracker(run, Refuses())
    assert error.value.message == "The tracker 'Refuses' failed: The store is full."
    with pytest.raises(EvalkitError, match="The tracker is 3; expected an object with log"):
        evalkit.export_tracker(run, 3)  # pyright: ignore[reportArgumentType]
    bare = evalkit.generate("noise", ["a cat"], out=tmp_path / "bare")
    with pytest.raises(EvalkitError, match=r"has no metrics.json"):
        evalkit.export_tracker(bare, Kept())


def test_the_name_is_no_way_out_of_the_run(run: Run, tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if run.path not in path.parents}
    evalkit.export_tracker(run, "tensorboard", name="../../../esc")
    assert [path.name for path in (run.path / "tensorboard").iterdir()] == ["esc"]
    assert {path for path in tmp_path.rglob("*") if run.path not in path.parents} == before


def test_the_python_of_the_page_runs(tmp_path: Path) -> None:
    [block] = code("python", "publish.md")
    said = Command(block, tmp_path).done()
    assert said.returncode == 0, said.stderr
    assert "True ['metrics.json'" in said.stdout
