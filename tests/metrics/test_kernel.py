"""KID: subsets, the interval of many images, and notes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_features import groups_of, rows
from torchmetrics.image.kid import poly_mmd

from evalkit.core import EvalkitError
from evalkit.metrics import kernel
from evalkit.metrics.memoized import clear_memoized


@pytest.mark.parametrize("subsets", [3, 60])
@pytest.mark.parametrize("count", [70, 130])
def test_kid_is_the_mean_of_torchmetrics_over_the_same_subsets(count: int, subsets: int):
    """For 3 subsets one by one, and for 60 subsets from one shared kernel matrix."""
    fake, real = rows(count, 12, 1, 0.3).float(), rows(90, 12, 2).float()
    random, values = np.random.RandomState(2020), []
    for _ in range(subsets):
        x, y = (
            side[torch.from_numpy(random.choice(len(side), 50, replace=False))].double()
            for side in (fake, real)
        )
        values.append(float(poly_mmd(y, x)))
    found = kernel.kid(fake=fake, real=real, subsets=subsets, subset_size=50)
    assert float(found) == pytest.approx(np.mean(values), abs=1e-7)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 2**31))
def test_kid_is_unbiased_between_equal_distributions(seed: int):
    values = [
        float(kernel.kid(fake=rows(60, 8, seed + k), real=rows(60, 8, seed + 100 + k)))
        for k in range(30)
    ]
    assert abs(np.mean(values)) < 4.5 * np.std(values) / 30**0.5


def test_kid_without_groups_of_many_images_is_linear(monkeypatch: pytest.MonkeyPatch):
    """First-order values from a sample of pairs have the standard error of all pairs."""
    fake, real, groups = rows(600, 12, 1, 0.4), rows(100, 12, 2), groups_of(600, 20, 3)
    slow = kernel.kid_without(fake=fake, real=real, groups=groups)
    clear_memoized()
    monkeypatch.setattr(kernel, "MOST_FOR_PAIRS", 500)
    monkeypatch.setattr(kernel, "PARTNERS", 400)
    quick = kernel.kid_without(fake=fake, real=real, groups=groups)
    assert float(quick.std()) == pytest.approx(float(slow.std()), rel=0.15)
    assert np.corrcoef(quick, slow)[0, 1] > 0.95
    assert "400 others" in kernel.approximation(fake=600)


def test_the_note_states_how_many_images_were_used():
    assert "the usual 100 subsets need 1000 images" in kernel.describe(fake=100, real=2000)
    expected = "mean of 100 subsets of 1000, seed 2020, 5000 against 2000"
    assert kernel.describe(fake=5000, real=2000) == expected


def test_one_image_is_too_few():
    with pytest.raises(EvalkitError, match="needs at least 2"):
        kernel.kid(fake=rows(1, 4, 0), real=rows(20, 4, 0))
