"""Nearest neighbours and balls: found in float32, equal to float64 arithmetic over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.metrics import balls, distances, manifold, neighbours, numeric
from evalkit.metrics.memoized import clear_memoized, memoized


def rows(count: int, dimension: int, seed: int, kind: str = "plain") -> Tensor:
    random = np.random.RandomState(seed)
    x = random.randn(count, dimension)
    if kind == "offset":  # a mean of a thousand times the spread
        x = x + 1e3
    elif (
        kind == "tight"
    ):  # two far modes, each of nearly equal images: float32 sees no difference within one
        x = 1e-3 * x + 50 * (np.arange(count) % 2)[:, None]
    elif kind == "copies":
        x = x[random.randint(0, count // 4, count)]
    elif kind == "collapsed":
        x = np.repeat(x[:1], count, axis=0)
    elif kind == "tiny":
        x = x * 1e-30
    elif kind == "huge":
        x = x * 1e30
    elif kind == "outlier":
        x[0] *= 1e4
    return torch.from_numpy(x)


KINDS = ["plain", "offset", "tight", "copies", "collapsed", "tiny", "huge", "outlier"]


def pairwise(x: Tensor, y: Tensor) -> Tensor:
    return (x.double()[:, None] - y.double()).square().sum(dim=2)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_nearest_are_those_of_all_pairs(kind: str, single: bool):
    x, y = rows(150, 40, 1, kind), rows(140, 40, 2, kind)
    if single:
        x, y = x.float(), y.float()
    scale = pairwise(x, y).max().item()
    for others in (y, None):
        expected = pairwise(x, x if others is None else others)
        if others is None:
            expected.fill_diagonal_(torch.inf)
        found = neighbours.nearest(x, others, k=4)
        assert torch.allclose(
            found.squared, expected.sort(dim=1).values[:, :4], rtol=1e-12, atol=1e-12 * scale
        )
        assert torch.allclose(expected.gather(1, found.index), found.squared, rtol=1e-12, atol=0)
        assert all(len(set(row)) == 4 for row in found.index.tolist())


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_balls_are_those_of_all_pairs(kind: str, strict: bool):
    x, y = rows(150, 40, 1, kind).float(), rows(140, 40, 2, kind).float()
    y[:20] = x[:20]
    squared, radii = pairwise(x, y), neighbours.nearest(y, k=3).squared[:, -1]
    inside = squared < radii if strict else squared <= radii
    assert torch.equal(balls.covered(x, y, radii, strict=strict), inside.any(dim=1))
    assert torch.equal(balls.balls_around(x, y, radii, strict=strict), inside.sum(dim=1))


@pytest.mark.parametrize("kind", KINDS)
def test_both_directions_and_pairs_are_those_of_all_pairs(kind: str):
    x, y = rows(150, 40, 1, kind).float(), rows(140, 40, 2, kind).float()
    squared = pairwise(x, y)
    radii_x, radii_y = (
        neighbours.nearest(x, k=3).squared[:, -1],
        neighbours.nearest(y, k=3).squared[:, -1],
    )
    in_y, in_x = balls.in_each_others_balls(x, y, 3)
    assert torch.equal(neighbours.kth_distance(x, 3), radii_x)
    assert torch.equal(in_y, (squared <= radii_y).any(dim=1))
    assert torch.equal(in_x, (squared <= radii_x[:, None]).any(dim=0))
    row, column, found = balls.pairs_within(x, y, radii_y, 30, 90)
    expected = (squared[30:90] <= radii_y).nonzero()
    assert torch.equal(torch.stack([row - 30, column], dim=1), expected)
    assert torch.allclose(found, squared[row, column], rtol=1e-9, atol=1e-12 * squared.max().item())


def test_a_point_on_the_sphere_is_inside_unless_strict():
    x, centre = torch.tensor([[3.0, 4.0], [3.0, 4.0000005]]), torch.zeros(1, 2)
    radii = torch.tensor([25.0], dtype=torch.float64)
    assert balls.covered(x, centre, radii).tolist() == [True, False]
    assert balls.covered(x, centre, radii, strict=True).tolist() == [False, False]
    assert balls.balls_around(x, centre, radii, strict=True).tolist() == [0, 0]


@pytest.mark.parametrize("elements", [1, 50, 4000])
def test_tiles_change_nothing(elements: int, monkeypatch: pytest.MonkeyPatch):
    x = rows(60, 8, 3, "copies").float()
    whole = neighbours.nearest(x, k=3)
    monkeypatch.setattr(numeric, "BLOCK_ELEMENTS", elements)
    monkeypatch.setattr(numeric, "CACHED_ELEMENTS", elements)
    assert torch.equal(neighbours.nearest(x, k=3).squared, whole.squared)


def test_the_search_is_in_float64_where_float32_products_are_rounded_further(
    monkeypatch: pytest.MonkeyPatch,
):
    x = rows(100, 16, 4).float()
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    assert distances._single(x, x.double().mean(dim=0), 1.0)[0].dtype == torch.float64


def test_too_few_neighbours():
    x = rows(3, 4, 0)
    assert neighbours.nearest(x, k=2).index.shape == (3, 2)
    with pytest.raises(EvalkitError, match="need at least 4"):
        neighbours.nearest(x, k=3)


def test_radii_without_groups_are_radii_of_what_is_left():
    x, groups = rows(90, 6, 5, "copies").float(), torch.arange(90) % 5
    wide = manifold.radii_without(x, groups)
    for group in range(5):
        keep = groups != group
        assert torch.equal(wide[keep, group], manifold.radii(x[keep]))
        assert bool((wide[~keep, group] == -1).all())


def test_results_are_memoized_by_content():
    calls = []

    @memoized
    def total(x: Tensor, k: int = 1) -> Tensor:
        calls.append(k)
        return x.sum() * k

    array = np.ones(4)
    x = torch.from_numpy(array)
    assert total(x) == total(x.clone()) == 4
    assert calls == [1]
    array[0] = 5  # behind the tensor's back
    assert total(x) == 8
    assert total(x, k=2) == 16
    assert total(x.float()) == 8
    assert calls == [1, 1, 2, 1]
    clear_memoized()
    total(x)
    assert len(calls) == 5
