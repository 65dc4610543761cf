"""Precision and recall, and radii without groups of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_features import degenerate_rows, rows

from evalkit.core import EvalkitError
from evalkit.metrics import manifold

seeds = st.integers(0, 2**31)
few = settings(max_examples=15, deadline=None, derandomize=True)


@few
@given(seeds, st.integers(1, 6))
def test_precision_and_recall_of_equal_sets_and_distant_sets(seed: int, copies: int):
    x = rows(20, 6, seed).repeat_interleave(copies, dim=0)
    assert manifold.precision(fake=x, real=x).min() == 1.0
    assert manifold.recall(fake=x, real=x) == 1.0
    assert manifold.precision(fake=x + 1e4, real=x).max() == 0.0
    assert manifold.recall(fake=x + 1e4, real=x) == 0.0


@few
@given(seeds)
def test_recall_is_precision_with_the_sides_exchanged(seed: int):
    x, y = rows(30, 4, seed), rows(25, 4, seed ^ 1, 0.7)
    assert manifold.recall(fake=x, real=y) == manifold.precision(fake=y, real=x).mean()
    order = torch.randperm(30)
    shuffled = manifold.precision(fake=x[order], real=y)
    assert torch.equal(manifold.precision(fake=x, real=y)[order], shuffled)


def test_recall_without_a_group_that_holds_all_near_neighbours():
    """Copies of one prompt fill the neighbours that are kept: the whole row is searched."""
    random = np.random.RandomState(0)
    fake = torch.from_numpy(np.concatenate([0.001 * random.randn(50, 3), random.randn(20, 3)]))
    groups = torch.tensor([0] * 50 + [1] * 10 + [2] * 10)
    fake = torch.cat([fake, fake[:3] + 1e-4])
    groups = torch.cat([groups, torch.tensor([1, 1, 2])])
    real = rows(40, 3, 1)
    quick = manifold.recall_without(fake=fake, real=real, groups=groups)
    kept = [fake[groups != group] for group in range(3)]
    assert torch.equal(quick, torch.stack([manifold.recall(fake=x, real=real) for x in kept]))
    wide = manifold.radii_without(fake, groups)
    for group, x in enumerate(kept):
        assert torch.equal(wide[groups != group, group], manifold.radii(x))


def test_radii_without_groups_are_the_radii_of_the_other_points():
    x, groups = degenerate_rows(90, 6, 5, "copies").float(), torch.arange(90) % 5
    wide = manifold.radii_without(x, groups)
    for group in range(5):
        keep = groups != group
        assert torch.equal(wide[keep, group], manifold.radii(x[keep]))
        assert bool((wide[~keep, group] == -1).all())


def test_three_reference_images_are_enough_for_recall_and_three_images_for_precision():
    """Each needs the balls of one side only: of the radii 3, 2, 2 and 3."""
    line = torch.tensor([[0.0], [1.0], [2.0], [3.0]]).double()
    few = torch.tensor([[-3.0], [5.0], [6.5]]).double()
    assert manifold.recall(fake=line, real=few).item() == pytest.approx(2 / 3)
    assert manifold.precision(fake=few, real=line).tolist() == [1.0, 1.0, 0.0]


def test_three_images_are_too_few():
    real = rows(20, 4, 0)
    with pytest.raises(EvalkitError, match="needs at least 4"):
        manifold.recall(fake=real[:3], real=real)


def test_radii_without_groups_of_a_few_points():
    """Fewer points than are searched at first."""
    x, groups = rows(7, 3, 1), torch.tensor([0, 0, 1, 1, 2, 2, 2])
    wide = manifold.radii_without(x, groups)
    for group in range(3):
        keep = groups != group
        assert torch.equal(wide[keep, group], manifold.radii(x[keep]))
