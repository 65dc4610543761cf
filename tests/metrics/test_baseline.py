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
