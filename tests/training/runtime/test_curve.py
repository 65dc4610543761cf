"""The training curve."""

from pathlib import Path

import pytest
from small_trainings import curve_rows

from evalkit.training.runtime.curve import Curve


def test_the_throughput_excludes_evaluations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("evalkit.training.runtime.curve.time.monotonic", lambda: now[0])
    curve = Curve(tmp_path / "dalle.safetensors", ("loss",), images=32)
    for step, training, evaluation in ((10, 4.0, 100.0), (20, 8.0, 50.0)):
        now[0] += training
        with curve.evaluation(step):
            now[0] += evaluation
            curve.log(step, loss=1.0)
    found = [(row["images_per_second"], row["seconds"]) for row in curve_rows(curve.path)]
    assert found == [("80.0", "104.0"), ("40.0", "162.0")]
