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


def test_rows_of_zeros_are_refused():
    with pytest.raises(EvalkitError, match="3 of 3 rows are all zero"):
        cmmd.cmmd(fake=torch.zeros(3, 4), real=rows(20, 4, 0))
