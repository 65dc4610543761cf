"""The finite-sample baseline of FID is the FID of real images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evalkit.metrics import frechet


def test_the_baseline_is_the_fid_of_real_images():
    random = np.random.RandomState(0)
    mixing = random.randn(24, 24) * (1 + np.arange(24)) ** -0.7
    real = torch.from_numpy(random.randn(2000, 24) @ mixing.T).float()
    moments = frechet.moments(real)

    def baseline(count: int) -> float | None:
        return frechet.fid_baseline(real=real, real_moments=moments, count=count)

    for count in (50, 400):
        fresh = [torch.from_numpy(random.randn(count, 24) @ mixing.T) for _ in range(200)]
        values = [float(frechet.fid(fake=rows, real_moments=moments)) for rows in fresh]
        assert baseline(count) == pytest.approx(np.mean(values), rel=0.25)
    assert baseline(10_000) == pytest.approx((baseline(1000) or 0) / 10, rel=1e-9)
    assert baseline(1) is None
    few = [
        frechet.fid_baseline(real=real[:501], real_moments=moments, count=count) or 0
        for count in (400, 800)  # four fifths of 501 can be drawn
    ]
    assert few[1] == pytest.approx(few[0] / 2, rel=1e-9)


@pytest.mark.parametrize("count", [2, 7, 60])
def test_the_baseline_is_the_mean_of_twenty_draws_of_seed_0(count: int):
    """Of 25 stored features at most 20 are drawn; the bias of more falls as 1 / count."""
    real = torch.from_numpy(np.random.RandomState(1).randn(60, 3))
    stored, drawn, random, values = real[:25], min(count, 20), np.random.RandomState(0), []
    for _ in range(20):
        rows = random.permutation(25)[:drawn]
        others = np.setdiff1d(np.arange(60), rows)
        moments = frechet.moments(real[torch.from_numpy(others)])
        values.append(float(frechet.fid(fake=stored[torch.from_numpy(rows)], real_moments=moments)))
    found = frechet.fid_baseline(real=stored, real_moments=frechet.moments(real), count=count)
    assert found == pytest.approx(np.mean(values) * drawn / count, rel=1e-6)


def test_half_of_the_images_at_most_are_drawn_for_a_baseline():
    real = torch.from_numpy(np.random.RandomState(1).randn(60, 3))
    for count, known in ((4, True), (3, False)):  # of 3 images, one could be drawn
        moments = frechet.moments(real[:count])
        found = frechet.fid_baseline(real=real[:3], real_moments=moments, count=9)
        assert (found is not None) is known


@pytest.mark.parametrize(("dimension", "draws"), [(3, 20), (512, 20), (513, 5)])
def test_fewer_draws_are_made_of_features_of_more_than_512_dimensions(dimension: int, draws: int):
    assert frechet.baseline_draws(dimension) == draws
