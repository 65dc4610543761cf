"""Margins that nobody states."""

from __future__ import annotations

import math

import pytest

from evalkit.statistics.margins import default_margin


@pytest.mark.parametrize(
    ("ends", "baseline", "margin"),
    [
        ((0.0, 1.0), 0.3, 0.02),  # a share: 2 points
        ((0.0, math.inf), 16.0, 0.8),  # else 5% of the baseline
        ((-100.0, 100.0), -30.0, 1.5),
        ((-math.inf, math.inf), 0.01, None),  # no natural zero
    ],
)
def test_the_margin_follows_from_the_range(
    ends: tuple[float, float], baseline: float, margin: float | None
) -> None:
    assert default_margin(ends, baseline) == (margin and pytest.approx(margin))
