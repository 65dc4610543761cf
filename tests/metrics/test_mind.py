"""MIND of equal sets, and without groups of images."""

from __future__ import annotations

import pytest
import torch
from random_features import groups_of, rows

from evalkit.metrics import mind


def test_mind_of_equal_sets_is_zero():
    x = rows(60, 8, 1)
    assert mind.mind(fake=x, real=x).item() == 0.0


def test_a_shift_in_one_dimension_adds_three_times_its_square():
    """Both directions are of length 1, whatever was drawn."""
    real = rows(30, 1, 1)
    found = mind.mind(fake=real.flip(0) + 0.5, real=real, projections=20)
    assert found.item() == pytest.approx(3 * 0.25)


def test_mind_without_a_group_matches_sorted_values_by_their_share():
    """3 values against 5 are 15 against 15 after each is repeated."""
    fake, real = rows(5, 4, 1, 0.3), rows(5, 4, 2)
    groups = torch.tensor([0, 0, 1, 2, 2])
    quick = mind.mind_without(fake=fake, real=real, groups=groups, projections=50)
    slow = []
    for group in range(3):
        left = fake[groups != group].repeat_interleave(5, dim=0)
        repeated = real.repeat_interleave(len(left) // 5, dim=0)
        slow.append(mind.mind(fake=left, real=repeated, projections=50))
    assert torch.allclose(quick, torch.stack(slow), rtol=1e-10)


def test_mind_without_a_group_keeps_the_drawn_images():
    """With more generated than reference images, a new draw would exceed the group's effect."""
    fake, real, groups = rows(400, 6, 1, 0.1), rows(100, 6, 2), groups_of(400, 20, 3)
    left_out = mind.mind_without(fake=fake, real=real, groups=groups)
    again = torch.stack([mind.mind(fake=fake[groups != group], real=real) for group in range(20)])
    assert left_out.std() < 0.5 * again.std()
    value = mind.mind(fake=fake, real=real)
    assert (left_out - value).abs().max() < 0.2 * value


def test_the_note_of_mind_has_the_counts_that_are_compared():
    for fake, real in ((400, 100), (100, 400)):
        assert mind.describe(fake=fake, real=real) == (
            f"{mind.PROJECTIONS} directions, 100 of {fake} images against 100 of {real} stored"
            f" reference images, seed {mind.SEED}"
        )
