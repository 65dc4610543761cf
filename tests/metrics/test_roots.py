"""The trace of the root of a covariance without some rows, from that of all rows."""

from __future__ import annotations

import pytest
import torch
from random_features import rows
from torch import Tensor

from evalkit.metrics import roots


def trace(x: Tensor) -> float:
    """The trace of the root of the scatter matrix, by singular values."""
    return float(torch.linalg.svdvals(x - x.mean(dim=0)).sum())


def spectrum(x: Tensor, removed: int) -> tuple[Tensor, roots.Group]:
    """The eigenvalues of the scatter matrix, and the removed rows in their basis."""
    centred = x - x.mean(dim=0)
    eigenvalues, vectors = torch.linalg.eigh(centred.T @ centred)
    return eigenvalues, roots.Group.of(centred[:removed] @ vectors)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("decay", [0.0, 2.0])
@pytest.mark.parametrize(("count", "removed"), [(25, 1), (25, 5), (60, 12)])
def test_the_integral_has_an_error_of_millionths_of_the_change(
    count: int, removed: int, decay: float, scale: float
) -> None:
    """For flat and steep spectra, with few and many rows."""
    x = scale * (rows(count, 8, 1) * (1 + torch.arange(8)).double() ** -decay + 3)
    found = float(roots.exactly(*spectrum(x, removed), count)) * (count - removed - 1) ** 0.5
    assert abs(found - trace(x[removed:])) < 1e-5 * (trace(x) - trace(x[removed:]))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("removed", [1, 10, 40])
def test_the_second_order_is_close_for_a_small_group(removed: int, scale: float) -> None:
    x = scale * (rows(1000, 8, 1) * (1 + torch.arange(8)).double() ** -1.0 + 3)
    found = float(roots.to_second_order(*spectrum(x, removed), 1000)) * (999 - removed) ** 0.5
    assert abs(found - trace(x[removed:])) < 1e-4 * (trace(x) - trace(x[removed:]))
