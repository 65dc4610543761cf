"""k-NN ball membership is that of all pairs in float64."""

from __future__ import annotations

import pytest
import torch
from random_features import DEGENERATE, degenerate_rows, pairwise
from torch import Tensor

from evalkit.metrics import balls, neighbours, numeric

forms = pytest.mark.parametrize("form", ["plain", *DEGENERATE])


@pytest.fixture(params=[2**23, 400])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tile, or many of 20 by 20 points and strips of 2 points."""
    monkeypatch.setattr(numeric, "BLOCK_ELEMENTS", request.param)


def two_sets(form: str) -> tuple[Tensor, Tensor]:
    return degenerate_rows(150, 40, 1, form).float(), degenerate_rows(140, 40, 2, form).float()


def radii(x: Tensor) -> Tensor:
    return neighbours.nearest(x, k=3).squared[:, -1]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.usefixtures("tiles")
@forms
def test_covered_points_and_counts(form: str, strict: bool):
    x, y = two_sets(form)
    y[:20] = x[:20]
    squared = pairwise(x, y)
    inside = squared < radii(y) if strict else squared <= radii(y)
    assert torch.equal(balls.covered(x, y, radii(y), strict=strict), inside.any(dim=1))
    assert torch.equal(balls.balls_around(x, y, radii(y), strict=strict), inside.sum(dim=1))


@pytest.mark.usefixtures("tiles")
@forms
def test_both_directions(form: str):
    x, y = two_sets(form)
    squared = pairwise(x, y)
    in_y, in_x = balls.in_each_others_balls(x, y, radii(x), radii(y))
    assert torch.equal(in_y, (squared <= radii(y)).any(dim=1))
    assert torch.equal(in_x, (squared <= radii(x)[:, None]).any(dim=0))


@forms
def test_pairs_within_balls(form: str):
    x, y = two_sets(form)
    squared = pairwise(x, y)
    row, column, found = balls.pairs_within(x, y, radii(y), 30, 90)
    expected = (squared[30:90] <= radii(y)).nonzero()
    assert torch.equal(torch.stack([row - 30, column], dim=1), expected)
    assert torch.allclose(found, squared[row, column], rtol=1e-9, atol=1e-12 * squared.max().item())


def test_the_boundary_belongs_to_the_ball_unless_strict():
    x, centre = torch.tensor([[3.0, 4.0], [3.0, 4.0000005]]), torch.zeros(1, 2)
    squared = torch.tensor([25.0], dtype=torch.float64)
    assert balls.covered(x, centre, squared).tolist() == [True, False]
    assert balls.covered(x, centre, squared, strict=True).tolist() == [False, False]
    assert balls.balls_around(x, centre, squared, strict=True).tolist() == [0, 0]
    point, nothing = torch.zeros(1, 2), torch.zeros(1, dtype=torch.float64)
    assert balls.balls_around(point, point, nothing, strict=True).tolist() == [0]
    assert balls.balls_around(point, point, nothing).tolist() == [1]
    row, column, found = balls.pairs_within(x, centre, squared, 0, 2)
    assert (row.tolist(), column.tolist(), found.tolist()) == ([0], [0], [25.0])
