"""Retrieval precision: hits, ties, equal prompts, number of candidates."""

from __future__ import annotations

import pytest
import torch
from random_features import rows

from evalkit.core import EvalkitError
from evalkit.metrics.alignment import describe_retrieval, retrieval_precision


def test_images_of_their_prompt_are_hits_and_equal_prompts_count_once():
    text = torch.eye(6).repeat_interleave(3, dim=0)
    assert retrieval_precision(fake=text, text=text).tolist() == [1.0] * 18


def test_images_of_another_prompt_and_ties_are_misses():
    text = torch.eye(6).repeat_interleave(3, dim=0)
    assert retrieval_precision(fake=text.roll(3, dims=0), text=text).tolist() == [0.0] * 18
    assert retrieval_precision(fake=torch.ones(18, 6), text=text).tolist() == [0.0] * 18


def test_one_prompt_only_is_refused():
    with pytest.raises(EvalkitError, match="all images have the same prompt"):
        retrieval_precision(fake=torch.eye(6), text=torch.ones(6, 6))


def test_fewer_candidates_are_easier():
    text = rows(300, 8, 1)
    fake = rows(300, 8, 2) + 0.5 * text
    found = [
        retrieval_precision(fake=fake, text=text, candidates=count).mean().item()
        for count in (2, 20, 300)
    ]
    assert found[0] > found[1] > found[2] > 0


def test_the_usual_candidates_are_100_by_the_seed_0():
    text = rows(1000, 8, 2)
    fake = rows(1000, 8, 1) + text
    usual = retrieval_precision(fake=fake, text=text).tolist()
    assert usual == retrieval_precision(fake=fake, text=text, candidates=100, seed=0).tolist()
    for change in ({"candidates": 10}, {"candidates": 500}, {"seed": 1}):
        assert usual != retrieval_precision(fake=fake, text=text, **change).tolist()
    note = "own prompt against 99 others (or all, if there are fewer), seed 0"
    assert describe_retrieval(fake=1000) == note
