"""Nearest neighbours are those of all pairs in float64."""

from __future__ import annotations

import pytest
import torch
from random_features import DEGENERATE, degenerate_rows, pairwise, rows

from evalkit.core import EvalkitError
from evalkit.metrics import neighbours, numeric


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("form", ["plain", *DEGENERATE])
def test_nearest_are_those_of_all_pairs(form: str, single: bool):
    x, y = degenerate_rows(150, 40, 1, form), degenerate_rows(140, 40, 2, form)
    if single:
        x, y = x.float(), y.float()
    scale = pairwise(x, y).max().item()
    for others in (y, None):
        expected = pairwise(x, x if others is None else others)
        if others is None:
            expected.fill_diagonal_(torch.inf)
        found = neighbours.nearest(x, others, k=4)
        smallest = expected.sort(dim=1).values[:, :4]
        assert torch.allclose(found.squared, smallest, rtol=1e-12, atol=1e-12 * scale)
        assert torch.allclose(expected.gather(1, found.index), found.squared, rtol=1e-12, atol=0)
        assert all(len(set(row)) == 4 for row in found.index.tolist())


@pytest.mark.parametrize("form", ["plain", *DEGENERATE])
def test_kth_distance_is_that_of_nearest(form: str):
    x = degenerate_rows(150, 40, 1, form).float()
    expected = neighbours.nearest(x, k=3).squared[:, -1]
    assert torch.equal(neighbours.kth_distance(x, 3), expected)


@pytest.mark.parametrize("elements", [1, 50, 4000])
def test_nearest_do_not_depend_on_the_tile_size(elements: int, monkeypatch: pytest.MonkeyPatch):
    x = degenerate_rows(60, 8, 3, "copies").float()
    whole = neighbours.nearest(x, k=3)
    monkeypatch.setattr(numeric, "BLOCK_ELEMENTS", elements)
    monkeypatch.setattr(numeric, "CACHED_ELEMENTS", elements)
    assert torch.equal(neighbours.nearest(x, k=3).squared, whole.squared)


def test_too_few_neighbours_are_refused():
    x = rows(3, 4, 0)
    assert neighbours.nearest(x, k=2).index.shape == (3, 2)
    with pytest.raises(EvalkitError, match="need at least 4"):
        neighbours.nearest(x, k=3)
