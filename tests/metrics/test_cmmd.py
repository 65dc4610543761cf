"""CMMD of equal sets, and features without a direction."""

from __future__ import annotations

import pytest
import torch
from random_features import rows

from evalkit.core import EvalkitError
from evalkit.metrics import cmmd


def test_cmmd_of_equal_sets_is_zero():
    x = rows(60, 8, 1)
    assert cmmd.cmmd(fake=x, real=x).item() == pytest.approx(0, abs=1e-9)


def test_opposite_features_reach_the_end_of_the_range():
    """The squared distance is 4: 2 (1 - exp(-4 / 200)), times 1,000."""
    x = torch.tensor([[3.0, 4.0]])
    found = cmmd.cmmd(fake=x, real=-x).item()
    assert found == pytest.approx(39.6026, abs=1e-4)
    assert cmmd.CMMD.range == (0.0, pytest.approx(found))


def test_rows_of_zeros_are_refused():
    with pytest.raises(EvalkitError, match="3 of 3 rows are all zero"):
        cmmd.cmmd(fake=torch.zeros(3, 4), real=rows(20, 4, 0))
