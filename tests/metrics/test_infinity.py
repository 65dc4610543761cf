"""FID-infinity: its interval, and too few images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_features import groups_of, rows

from evalkit.core import EvalkitError
from evalkit.metrics import frechet, infinity


def test_without_groups_fid_infinity_changes_slightly_more_than_fid():
    fake, groups = rows(400, 12, 1, 0.2), groups_of(400, 20, 2)
    reference = frechet.moments(rows(900, 12, 3))
    plain = frechet.fid_without(fake=fake, real_moments=reference, groups=groups)
    found = infinity.fid_infinity_without(fake=fake, real_moments=reference, groups=groups)
    value = infinity.fid_infinity(fake=fake, real_moments=reference)
    assert found.mean().item() == pytest.approx(value.item(), rel=1e-9)
    ratio = (found - found.mean()) / (plain - plain.mean())
    assert torch.allclose(ratio, ratio[0].expand(20))
    assert 1.0 < float(ratio[0]) < 1.4


def test_the_deviations_grow_by_the_weights_of_the_images_in_the_line():
    """The intercept of the line is a sum of FID values, each the mean of the images of its end."""
    fake, groups = rows(45, 3, 1), groups_of(45, 9, 2)
    reference = frechet.moments(rows(90, 3, 3))
    plain = frechet.fid_without(fake=fake, real_moments=reference, groups=groups)
    found = infinity.fid_infinity_without(fake=fake, real_moments=reference, groups=groups)
    counts = np.linspace(22, 45, 15).astype(int)
    line = np.linalg.pinv(np.stack([np.ones(15), 1 / counts], axis=1))[0]
    weights = np.zeros(45)
    for place, (count, share) in enumerate(zip(counts, line, strict=True)):
        weights[slice(45 - count, None) if place % 2 else slice(count)] += share / count
    expected = (45 * (weights**2).sum()) ** 0.5
    ratio = (found - found.mean()) / (plain - plain.mean())
    assert ratio.numpy() == pytest.approx(np.full(9, expected), rel=1e-6)


def test_twenty_images_are_too_few():
    real = rows(20, 4, 0)
    with pytest.raises(EvalkitError, match="needs at least 30"):
        infinity.fid_infinity(fake=real, real_moments=frechet.moments(real))


def test_the_note_states_the_line():
    assert infinity.describe(fake=29) == ""
    line = "line in 1/N through FID at 15 counts from"
    usual = "; the usual line from 5000 needs 10000 images"
    assert infinity.describe(fake=30) == f"{line} 15 to 30, seed 2020{usual}"
    assert infinity.describe(fake=1001) == f"{line} 500 to 1001, seed 2020{usual}"
    assert infinity.describe(fake=10_000) == f"{line} 5000 to 10000, seed 2020"


@pytest.mark.parametrize(("fake", "said"), [(63, "far too high"), (64, "too low"), (191, "too")])
def test_the_value_of_too_few_images_has_a_caution(fake, said):
    found = infinity.caution(fake=fake, dimension=64)
    assert f"of {fake} images with 64 dimensions the value may be {said}" in found
    assert "at least 192 images" in found
    assert infinity.caution(fake=192, dimension=64) == ""


@pytest.mark.parametrize("decay", [0.25, 0.5])
def test_the_caution_says_on_which_side_the_value_is(decay):
    """Of a model as good as the reference FID-infinity is 0, within a tenth of FID's bias."""
    dimension = 64
    spectrum = (1 + np.arange(dimension)) ** -decay
    real = torch.from_numpy(np.random.RandomState(0).randn(20_000, dimension) * spectrum)
    moments = frechet.moments(real)

    def left(count):
        """The share of the bias that FID-infinity keeps, of five sets of images."""
        sets = [np.random.RandomState(seed).randn(count, dimension) for seed in range(1, 6)]
        found = [torch.from_numpy(one * spectrum) for one in sets]
        ends = [infinity.fid_infinity(fake=one, real_moments=moments) for one in found]
        plain = [frechet.fid(fake=one, real_moments=moments) for one in found]
        return float(sum(ends) / sum(plain))

    assert left(dimension // 2) > 0.3  # far too high
    assert left(2 * dimension) < -0.1  # too low
    assert abs(left(4 * dimension)) < 0.1
