"""What a run folder is scored with: metrics add up, other settings are those of run.toml."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from installed_metrics import METRICS
from PIL import Image

import evalkit
from evalkit.config import load_config
from evalkit.core import EvalkitError
from evalkit.encoders.pixels import Pixels
from evalkit.run_folder import Run
from evalkit.score.select import DEFAULT

A, B = "models_for_tests:plain", "noise"
PROMPTS = ["a cat", "a dog", "a hen", "a cow", "a pig", "a bee"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two models, scored with two metrics and the encoder `pixels`."""
    return evalkit.run(
        [A, B], PROMPTS, out=tmp_path / "run", encoders="pixels", metrics=["duplicates", "fid"]
    )


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all batches that are encoded from now on."""
    batches: list[int] = []
    encode = Pixels.__call__

    def counting(self: Pixels, images: object) -> object:
        batches.append(len(images))  # type: ignore[arg-type]
        return encode(self, images)  # type: ignore[arg-type]

    monkeypatch.setattr(Pixels, "__call__", counting)
    return batches


def measured(run: Run) -> list[str]:
    """The metrics of metrics.json that an encoder was used for, in order."""
    return list(dict.fromkeys(row.metric for row in run.metrics() if row.encoder))


def named(run: Run) -> tuple[str, ...]:
    return load_config(run.config_path, {}).metrics


def test_metrics_are_added_in_order_and_nothing_is_encoded_again(
    run: Run, encoded: list[int]
) -> None:
    before = run.metrics()
    comment = run.config_path.read_text().partition("\n")[0]
    evalkit.score(run.path, metrics=["vendi", "duplicates"])
    assert measured(run) == ["duplicates", "fid", "vendi"]
    assert named(run) == ("duplicates", "fid", "vendi")
    assert encoded == []
    assert [row for row in run.metrics() if row.metric != "vendi"] == before
    assert run.config_path.read_text().partition("\n")[0] == comment
    evalkit.score(run.path, metrics="kid,duplicates")
    assert named(run) == ("duplicates", "fid", "vendi", "kid")
    before = run.metrics()
    assert evalkit.score(run.path) == before
    found = run.comparisons()
    assert found is not None
    assert found.family == sum(row.p is not None for row in found.rows)
    assert {row.metric for row in found.rows} >= {"vendi", "duplicates"}


def test_only_replaces_and_the_models_stay(run: Run, encoded: list[int]) -> None:
    evalkit.score(run.path, metrics=["vendi"], only=True)
    assert measured(run) == ["vendi"]
    assert named(run) == ("vendi",)
    assert run.models() == [A, B]
    assert encoded == []
    with pytest.raises(EvalkitError, match="No metric is named"):
        evalkit.score(run.path, only=True)


def test_run_adds_metrics_too(run: Run, encoded: list[int]) -> None:
    evalkit.run([A, B], PROMPTS, out=run.path, metrics=["vendi"])
    assert measured(run) == list(named(run)) == ["duplicates", "fid", "vendi"]
    assert encoded == []
    config = load_config(run.config_path, {})
    assert config.encoders == "pixels"


def test_the_usual_set_stays_when_a_metric_is_added(tmp_path: Path) -> None:
    run = evalkit.run(B, PROMPTS, out=tmp_path / "run", encoders="pixels")
    assert named(run) == ()
    evalkit.score(run.path, metrics="vendi")
    assert named(run) == (*DEFAULT, "vendi")
    rows = {row.metric for row in run.metrics()}
    assert {*DEFAULT, "vendi"} <= rows
    evalkit.score(run.path, metrics=DEFAULT, only=True)
    assert named(run) == ()


def test_the_first_scoring_has_the_named_metrics_only(tmp_path: Path) -> None:
    run = evalkit.generate(B, PROMPTS, out=tmp_path / "run")
    evalkit.score(run.path, metrics=["vendi"], encoders="pixels")
    assert measured(run) == list(named(run)) == ["vendi"]
    assert load_config(run.config_path, {}).encoders == "pixels"


def test_metrics_that_only_metrics_json_has_are_kept(run: Run) -> None:
    """As after a kill, or where run.toml is gone."""
    evalkit.score(run.path, metrics=["vendi"])
    text = run.config_path.read_text()
    run.config_path.write_text(text.replace('    "vendi",\n', ""))
    evalkit.score(run.path, metrics=["kid", "vendi"])
    assert named(run) == ("duplicates", "fid", "vendi", "kid")
    run.config_path.unlink()
    evalkit.score(run.path, encoders="pixels")
    assert measured(run) == ["duplicates", "fid", "vendi", "kid"]
    assert not run.config_path.exists()


def test_all_metrics_and_one_more(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evalkit.score(run.path, metrics=["all"])
    every = named(run)
    assert every[:2] == ("duplicates", "fid")
    assert set(every) == set(METRICS)
    (tmp_path / "my_own.py").write_text(
        "from evalkit import Metric\n"
        "OWN = Metric('brightest', lambda *, fake: fake.max(), 'pool', 'inception', 'higher')\n"
    )
    monkeypatch.chdir(tmp_path)
    evalkit.score(run.path, metrics=["my_own:OWN"])
    assert named(run) == (*every, "my_own:OWN")
    evalkit.score(run.path, metrics=["all", "my_own:OWN"])
    assert named(run) == (*every, "my_own:OWN")


def test_encoders_and_reference_are_those_of_the_run_and_flags_win(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4):
        Image.new("RGB", (32, 32), (40 * number, 90, 30)).save(photos / f"{number}.png")
    evalkit.reference_build(photos, name="mine", out=tmp_path / "mine", encoders="pixels")
    monkeypatch.chdir(tmp_path)
    evalkit.score("run", reference="./mine")
    row = next(row for row in run.metrics() if row.metric == "fid")
    assert (row.encoder, row.reference) == ("pixels", "mine")
    assert row.value is not None
    assert "the reference has only 4 images" in row.caution
    monkeypatch.chdir("/")
    before = run.metrics()
    assert 'reference = "../mine"' in run.config_path.read_text()
    assert evalkit.score(run.path) == before
    evalkit.score(run.path, encoders=["mini-inception", "mini-clip"], reference="scenes")
    config = load_config(run.config_path, {})
    assert (config.encoders, config.reference) == ("mini-inception,mini-clip", "scenes")
    assert next(row for row in run.metrics() if row.metric == "fid").encoder == "mini-inception"


def test_a_scoring_that_fails_changes_nothing(run: Run) -> None:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    for wrong in (
        {"metrics": "vendy"},
        {"encoders": "pixel"},
        {"reference": "absent"},
        {"models": "nois"},
        {"models": [A, "x"]},
    ):
        with pytest.raises(EvalkitError):
            evalkit.score(run.path, **wrong)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "content", ["models = [", "modles = []\n", "metrics = 5\n", "\0", "seed = 'x'"]
)
@pytest.mark.parametrize("function", [evalkit.score, evalkit.report])
def test_a_damaged_run_toml_is_an_error(
    run: Run, function: Callable[[Path], object], content: str
) -> None:
    run.config_path.write_text(content)
    before = run.metrics_path.read_bytes()
    with pytest.raises(EvalkitError, match=r"run\.toml"):
        function(run.path)
    assert run.metrics_path.read_bytes() == before


def test_the_named_models_are_compared_and_the_others_are_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = [A, B, "models_for_tests:refuses", "models_for_tests:bound"]
    run = evalkit.run(models, PROMPTS, out=tmp_path / "run", encoders="pixels", metrics=["vendi"])
    found = run.comparisons()
    assert found is not None
    assert len(found.rows) == 6
    others = {
        path: path.read_bytes()
        for model in models[2:]
        for path in (run.image_folder(model)).iterdir()
    }
    with caplog.at_level(logging.INFO, "evalkit"):
        evalkit.run(models[:2], [*PROMPTS, "new"], out=run.path)
    assert "not compared: models_for_tests:refuses, models_for_tests:bound" in caplog.text
    assert {row.model for row in run.metrics()} == set(models[:2])
    found = run.comparisons()
    assert found is not None
    assert [(row.model_a, row.model_b) for row in found.rows] == [(A, B)]
    assert json.loads(run.protocol_path.read_text())["not_compared"] == models[2:]
    assert {path: path.read_bytes() for path in others} == others
    page = (run.report_path / "index.html").read_text()
    assert "not part of this comparison" in page
    assert "2 models, 7 prompts" in page
    assert "models_for_tests:bound" in page.split("not part of this")[0][-200:]

    rows = evalkit.score(run.path)  # all: on the images that they all have
    assert {row.model for row in rows} == set(models)
    assert {row.count for row in rows if row.on == "common"} == {6}
    counts = json.loads(run.protocol_path.read_text())["counts"]
    assert [counts[model]["missing"] for model in models] == [0, 0, 1, 1]
    evalkit.score(run.path, models=f"{models[3]},{A}")
    vendi = [row for row in run.metrics() if (row.metric, row.on) == ("vendi", "answered")]
    assert [row.model for row in vendi] == [A, models[3]]


def test_models_of_a_folder_that_is_not_a_run(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(EvalkitError, match="is not a run folder, so it has no models"):
        evalkit.score(tmp_path, models="a")


def test_the_log_says_that_the_report_is_older(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "evalkit"):
        evalkit.score(run.path)
        assert "older" not in caplog.text  # the same values
        evalkit.score(run.path, metrics="vendi")
        assert f"renew it with `evalkit report {run.path}`" in caplog.text
        assert "figures" not in caplog.text
        caplog.clear()
        (run.path / "figures").mkdir()
        evalkit.score(run.path, metrics="precision")
        assert f"renew them with `evalkit figures {run.path}`" in caplog.text
        caplog.clear()
        evalkit.run(out=run.path, metrics="kid,vendi")
        assert "older" not in caplog.text  # it is written at once
