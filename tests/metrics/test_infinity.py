"""FID-infinity: its interval, and too few images."""

from __future__ import annotations

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
