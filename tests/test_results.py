"""A run as data frames."""

from __future__ import annotations

import json
import logging
from dataclasses import fields
from pathlib import Path

import pandas
import pytest
from report_runs import make_comparisons, make_run

import evalkit
from evalkit.core import ComparisonRow, EvalkitError, MetricRow

PROMPTS = ["a red circle", "two dogs", "a cat", "a tree", "three blue stars", "snow"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> evalkit.Run:
    place = tmp_path_factory.mktemp("runs") / "noise"
    return evalkit.run("noise", PROMPTS, per_prompt=2, encoders="mini", out=place)


def test_metrics_are_the_rows_of_metrics_json(run: evalkit.Run) -> None:
    frame = run.frame()
    assert list(frame) == [field.name for field in fields(MetricRow)]
    expected = [vars(row) for row in run.metrics()]
    found = frame.astype(object).where(frame.notna(), None).to_dict("records")
    assert found == expected
    assert frame.dtypes[["value", "low", "high", "baseline"]].eq("float64").all()
    assert frame.set_index("metric").value["inception_score"] >= 1


def test_scores_have_the_prompt_of_their_image(run: evalkit.Run) -> None:
    assert set(run.frame("scores").metric) == {"clip_score", "precision"}
    frame = run.frame("scores").query("metric == 'clip_score'")
    assert list(frame.text) == [text for text in PROMPTS for _ in range(2)]
    assert list(frame["sample"]) == [0, 1] * 6
    assert set(frame.prompt) == {prompt.id for prompt in run.prompts()}
    mean = run.frame().set_index("metric").value["clip_score"]
    assert frame.value.mean() == pytest.approx(mean, rel=1e-6)


def test_images_have_a_row_for_every_request(run: evalkit.Run, tmp_path: Path) -> None:
    frame = run.frame("images")
    records = run.records("noise")
    assert list(frame.seed) == [record.seed for record in records]  # 63 bits: not as floats
    assert all(Path(path).is_file() for path in frame.path)
    assert list(frame.text) == [text for text in PROMPTS for _ in range(2)]
    part = evalkit.generate("noise", PROMPTS, per_prompt=2, out=tmp_path / "part")
    manifest = part.image_folder("noise") / "manifest.0.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:5]))
    stopped = part.frame("images")
    assert list(stopped.status) == ["ok"] * 5 + ["missing"] * 7
    assert list(stopped.seed) == list(frame.seed)
    assert list(stopped.path[5:]) == [""] * 7


def test_comparisons(tmp_path: Path) -> None:
    made = make_run(tmp_path / "run")
    loaded = evalkit.load(made.path)
    names = [field.name for field in fields(ComparisonRow)]
    assert list(loaded.frame("comparisons")) == names
    assert loaded.frame("comparisons").empty
    make_comparisons(made, ("dalle", "gan"))
    frame = loaded.frame("comparisons")
    assert list(frame.verdict[frame.metric == "fid"]) == ["a better"]
    assert frame.p.isna().sum() == 1


def test_frames_of_scored_images_that_are_not_a_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = evalkit.generate("noise", PROMPTS, out="run").image_folder("noise")
    evalkit.score(images, encoders="mini", metrics="inception_score")
    [folder] = [path.parent for path in tmp_path.glob("reports/*/metrics.json")]
    loaded = evalkit.load(folder)
    assert loaded.frame().set_index("metric").value["inception_score"] >= 1
    assert loaded.frame("images").empty
    assert loaded.frame("scores").empty


def test_several_runs_are_one_frame(run: evalkit.Run) -> None:
    frame = pandas.concat({name: evalkit.load(run.path).frame() for name in ("a", "b")})
    assert frame.loc["a"].equals(frame.loc["b"])


def test_python_warns_of_what_is_not_measured(tmp_path: Path, monkeypatch, caplog) -> None:
    made = evalkit.generate("noise", PROMPTS, out=tmp_path / "run")
    # As in a script: an earlier test may have shown the log as the command line does.
    monkeypatch.setattr(logging.getLogger("evalkit"), "handlers", [])
    evalkit.score(made.path, encoders="pixels")
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    [reference] = [line for line in warnings if "no reference" in line]
    assert reference.startswith("fid, kid, precision, recall: not measured: ")
    assert "--" not in reference
    assert [line.partition(":")[0] for line in warnings] == [
        "fid, kid, precision, recall",
        "inception_score",
        "clip_score",
    ]


def test_wrong_paths_and_kinds(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match=r"There is no folder .*nowhere.*evalkit\.list_runs\(\)"):
        evalkit.load(tmp_path / "nowhere")
    with pytest.raises(EvalkitError, match="not a run folder: it has neither"):
        evalkit.load(tmp_path)
    made = evalkit.generate("noise", ["a cat"], out=tmp_path / "run")
    assert repr(made) == f"Run({str(made.path)!r})"
    for kind in ("metrics", "scores"):
        with pytest.raises(EvalkitError, match=r"no metrics.json. .*`evalkit\.score\("):
            made.frame(kind)
    with pytest.raises(EvalkitError, match=r"no frame 'metric'\. Did you mean 'metrics'"):
        made.frame("metric")
    (made.image_folder("noise") / "manifest.0.jsonl").write_text(json.dumps({"prompt": 1}) + "\n")
    with pytest.raises(EvalkitError, match="is damaged"):
        made.frame("images")


def test_the_pairs_of_the_example_have_a_metric_and_a_preference() -> None:
    example = evalkit.load(Path(__file__).parent.parent / "reports/example")
    pairs = example.frame("pairs").query("metric == 'clip_score'")
    assert len(pairs) == pairs.prompt.nunique() == 71
    row, scores = pairs.iloc[0], example.frame("scores")
    own = scores[(scores.metric == "clip_score") & (scores.prompt == row.prompt)]
    value = own.set_index("model").value
    assert row.difference == value[row.model_a] - value[row.model_b]
    assert set(pairs.preference) <= {-1.0, 0.0, 1.0}
