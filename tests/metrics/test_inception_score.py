"""Inception score: splits, and the score without groups of images."""

from __future__ import annotations

import pytest
from random_features import groups_of, rows

from evalkit.core import EvalkitError
from evalkit.metrics import inception_score


def test_inception_score_without_a_group_keeps_the_splits():
    logits, groups = 3 * rows(400, 7, 1), groups_of(400, 10, 2)
    left_out = inception_score.inception_score_without(fake=logits, groups=groups)
    whole = inception_score.inception_score(fake=logits)
    assert (left_out - whole).abs().max() < 0.1


def test_fewer_images_have_fewer_splits_and_the_note_states_it():
    assert inception_score.splits_for(400) == 4
    usual = "seed 2020; the usual 10 need 1000 images"
    assert inception_score.describe(fake=400) == f"4 splits of about 100 images, {usual}"
    assert inception_score.describe(fake=50) == f"1 split of about 50 images, {usual}"
    assert inception_score.describe(fake=1000) == "10 splits of about 100 images, seed 2020"
    assert inception_score.describe(fake=5000) == "10 splits of about 500 images, seed 2020"


def test_fewer_images_than_splits_are_refused():
    with pytest.raises(EvalkitError, match="needs at least 10"):
        inception_score.inception_score(fake=rows(9, 4, 0), splits=10)
