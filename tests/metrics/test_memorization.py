"""Copies of reference images, and near-identical images of a set."""

from __future__ import annotations

import pytest
import torch
from random_features import rows

from evalkit.core import EvalkitError
from evalkit.metrics.memorization import duplicates, memorization


def test_memorization_of_equal_sets_and_distant_sets():
    x = rows(60, 8, 1)
    assert memorization(fake=x, real=x).mean().item() == 1.0
    assert memorization(fake=x + 100, real=x).mean().item() == 0.0


def test_copies_of_reference_images_are_detected():
    real, held_out = rows(400, 24, 1), rows(100, 24, 2)
    copies = real[:100] + 0.01 * rows(100, 24, 3)
    assert memorization(fake=copies, real=real).mean().item() == 1.0
    assert memorization(fake=held_out, real=real).mean().item() < 0.6


def test_near_identical_images_are_counted():
    x = rows(50, 32, 1)
    assert duplicates(fake=x).sum() == 0
    copies = torch.cat([x, x[:3] * 1.001, x[:1]])
    assert duplicates(fake=copies).nonzero().flatten().tolist() == [0, 1, 2, 50, 51, 52, 53]


def test_near_identical_images_are_counted_if_the_whole_set_is_collapsed():
    collapsed = rows(50, 32, 1)[:1] + 1e-3 * rows(40, 32, 2)
    assert duplicates(fake=collapsed).tolist() == [1.0] * 40


def test_one_image_is_too_few():
    real = rows(20, 4, 0)
    with pytest.raises(EvalkitError, match="needs at least 2"):
        memorization(fake=real, real=real[:1])
    with pytest.raises(EvalkitError, match="needs at least 2"):
        duplicates(fake=real[:1])
