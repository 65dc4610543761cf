"""Scoring in bfloat16: names, files, the measured error, and no silent comparison."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from gated_runs import prompts
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError, MetricRow
from evalkit.run_folder import Run

METRICS = ["fid", "clip_score"]


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored run of the bundled GAN."""
    out = tmp_path_factory.mktemp("runs") / "exact"
    evalkit.generate("gan", prompts()[:24], out=out)
    evalkit.score(out, metrics=METRICS, only=True, encoders="mini", device="cpu")
    return out


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run in bfloat16."""
    out = tmp_path_factory.mktemp("runs") / "fast"
    evalkit.generate("gan", prompts()[:24], out=out)
    settings = {"metrics": METRICS, "encoders": "mini", "device": "cpu"}
    evalkit.score(out, only=True, precision="bf16", **settings)  # type: ignore[arg-type]
    return out


def rows(run: Path) -> dict[str, MetricRow]:
    return {row.metric: row for row in Run(run).metrics() if row.encoder}


def test_the_error_is_measured_against_exact_features(exact: Path, fast: Path) -> None:
    errors = Run(fast).protocol()["precision_errors"]["gan"]
    assert list(errors) == ["mini-inception-bf16", "mini-clip-bf16"]
    for metric, name in zip(METRICS, errors, strict=True):
        slow, quick = rows(exact)[metric], rows(fast)[metric]
        assert (slow.encoder, quick.encoder) == (name.removesuffix("-bf16"), name)
        assert slow.value is not None
        assert quick.value is not None
        difference = quick.value - slow.value
        assert difference != 0
        assert errors[name]["differences"][metric] == pytest.approx(difference, rel=1e-6)
        assert errors[name]["images"] == 24
        assert 0 < errors[name]["distance"] < 0.01
        assert f"{difference:+.2g} from exact on 24 images" in quick.note
        assert "from exact" not in slow.note
    assert Run(exact).protocol()["precision_errors"] == {}


def test_exact_reference_statistics_serve_a_faster_mode(fast: Path) -> None:
    assert rows(fast)["fid"].reference == "scenes"
    assert Run(fast).protocol()["references"]["inception"]["encoder"] == "mini-inception"


def test_a_run_keeps_its_precision_and_both_caches(
    exact: Path, fast: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "evalkit")
    before = rows(fast)
    evalkit.score(fast)
    assert rows(fast) == before
    assert "Fréchet distance from exact features is" in caplog.text
    result = CliRunner().invoke(app, ["score", str(fast), "--precision", "exact"])
    assert result.exit_code == 0
    assert rows(fast) == rows(exact)
    names = {path.name for path in (fast / "features" / "gan").glob("*.npz")}
    assert {"mini-inception.npz", "mini-inception-bf16.npz"} <= names
    evalkit.score(fast, precision="bf16")
    assert rows(fast) == before


def test_a_faster_mode_is_not_compared_with_exact_values(exact: Path, fast: Path) -> None:
    for function in (
        lambda: evalkit.gate(fast, baseline=exact),
        lambda: evalkit.compare([fast, exact]),
    ):
        with pytest.raises(EvalkitError, match="not comparable") as caught:
            function()
        assert caught.value.exit_code == 4
        assert "mini-inception-bf16" in str(caught.value)


def test_the_gate_measures_what_is_missing_in_the_same_mode(fast: Path) -> None:
    for path in (fast / "features" / "gan" / "measured").iterdir():
        path.unlink()
    found = evalkit.gate(fast, baseline=fast, metrics=["fid"])
    [decision] = [one for one in found.decisions if one.metric == "fid"]
    assert decision.encoder == "mini-inception-bf16"
    assert decision.candidate == pytest.approx(rows(fast)["fid"].value)


def test_two_runs_of_one_mode_are_compared_in_it(fast: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    evalkit.generate("gan", prompts()[:24], out=other)
    evalkit.score(other, metrics=METRICS, only=True, encoders="mini", precision="bf16")
    made = evalkit.compare([fast, other], out=tmp_path / "both")
    encoders = {row.encoder for row in made.metrics() if row.metric in METRICS}
    assert encoders == {"mini-inception-bf16", "mini-clip-bf16"}


def test_images_without_a_run_are_scored_in_a_mode(
    exact: Path, fast: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Run(fast).image_folder("gan")
    [row] = [
        row
        for row in evalkit.score(
            folder, metrics="fid", only=True, encoders="mini", precision="bf16", device="cpu"
        )
        if row.metric == "fid"
    ]
    assert row.encoder == "mini-inception-bf16"
    assert row.value == pytest.approx(rows(fast)["fid"].value)
    assert "nothing may be concluded" in row.caution


def test_tf32_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="does not compute in tf32"):
        evalkit.run(
            "gan", prompts()[:2], out=tmp_path / "run", precision="tf32", device="cpu",
            encoders="mini",
        )  # fmt: skip
    assert not (tmp_path / "run").exists()
