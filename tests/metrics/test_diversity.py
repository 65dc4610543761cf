"""Vendi score and LPIPS diversity."""

from __future__ import annotations

import pytest
import torch
from random_features import rows

from evalkit.core import EvalkitError
from evalkit.metrics import diversity


def test_vendi_counts_different_images_and_increases_with_the_count():
    x = rows(300, 40, 1)
    values = [diversity.vendi(fake=x[:count]).item() for count in (1, 20, 100, 300)]
    assert values[0] == pytest.approx(1)
    assert values == sorted(values)
    assert diversity.vendi(fake=x[:1].repeat(100, 1)).item() == pytest.approx(1)


def test_vendi_refuses_rows_of_zeros():
    with pytest.raises(EvalkitError, match="all zero"):
        diversity.vendi(fake=torch.zeros(3, 4))
    with pytest.raises(EvalkitError, match=r"2 of 5 rows .*: 1, 3\).*black images: make them"):
        diversity.vendi(fake=torch.tensor([1.0, 0, 2, 0, 3])[:, None].repeat(1, 4))


def test_lpips_diversity_of_prompts_with_one_image_is_refused():
    known = torch.tensor([[0.4], [0.6], [0.5]])
    assert diversity.lpips_diversity(fake=known).tolist() == pytest.approx([0.4, 0.6, 0.5])
    single = torch.full((1, 1), float("nan"))
    with pytest.raises(EvalkitError, match="no prompt has two images"):
        diversity.lpips_diversity(fake=single.repeat(3, 1))
    with pytest.raises(EvalkitError, match="1 of 4 images is the only one of its prompt"):
        diversity.lpips_diversity(fake=torch.cat([known, single]))
    with pytest.raises(EvalkitError, match="expected one number per image"):
        diversity.lpips_diversity(fake=torch.zeros(3, 2))
