"""Density and coverage: equal sets, outliers, too few reference images."""

from __future__ import annotations

import pytest
import torch
from random_features import rows

from evalkit.core import EvalkitError
from evalkit.metrics import coverage, manifold


def test_coverage_of_equal_sets_is_one():
    x = rows(60, 8, 1)
    assert coverage.coverage(fake=x, real=x).item() == 1.0


def test_density_is_not_dominated_by_an_outlier_of_the_reference():
    """A distant real image has a large ball: precision counts everything in it as realistic."""
    real = torch.cat([rows(200, 4, 1), torch.full((1, 4), 60.0).double()])
    fake = rows(50, 4, 2, shift=30.0)
    assert manifold.precision(fake=fake, real=real, k=5).mean() > 0.9
    one_ball_of_five = pytest.approx(0.2)
    assert coverage.density(fake=fake, real=real).mean().item() == one_ball_of_five


def test_five_reference_images_are_too_few():
    real = rows(20, 4, 0)
    with pytest.raises(EvalkitError, match="needs at least 6"):
        coverage.coverage(fake=real, real=real[:5])
