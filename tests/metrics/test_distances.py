"""The type in which distances are searched."""

from __future__ import annotations

import pytest
import torch
from random_features import rows

from evalkit.metrics.distances import Sides


@pytest.mark.parametrize(("precision", "expected"), [("highest", "float32"), ("high", "float64")])
def test_the_search_is_in_float64_if_tf32_products_are_allowed(
    precision: str, expected: str, monkeypatch: pytest.MonkeyPatch
):
    x = rows(100, 16, 4).float()
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: precision)
    assert Sides.of(x, x).x.dtype == getattr(torch, expected)
