"""What all small trainings need."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chart of the curve, drawn anew at each checkpoint, takes longer than a few steps.

    A test that looks at it undoes this.
    """
    monkeypatch.setattr("evalkit.training.runtime.curve.to_bytes", lambda *chart: b"")
