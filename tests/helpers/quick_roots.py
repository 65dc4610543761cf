"""Roots of covariances of few images for other tools, which take a minute each in 2048 dimensions.

The product of two covariances of n images has n - 1 eigenvalues that are not zero. They are the
eigenvalues of a small matrix: the product in an orthonormal basis of its own image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from numpy.typing import NDArray

RANK = 64  # more than the images of a test


def use_quick_roots(patch: pytest.MonkeyPatch) -> None:
    """SciPy's `sqrtm` (only the trace is right), and `eigvals` of NumPy and of torch."""
    patch.setattr(scipy.linalg, "sqrtm", _root)
    patch.setattr(np.linalg, "eigvals", _eigenvalues)
    patch.setattr(
        torch.linalg, "eigvals", lambda matrix: torch.from_numpy(_eigenvalues(matrix.numpy()))
    )


_eigenvalues_of_all = np.linalg.eigvals


def _eigenvalues(matrix: NDArray[Any]) -> NDArray[Any]:
    if len(matrix) <= RANK:
        return _eigenvalues_of_all(matrix)
    drawn = np.random.RandomState(0).randn(len(matrix), RANK)
    basis = np.linalg.qr(matrix @ drawn)[0]
    return _eigenvalues_of_all(basis.T @ (matrix @ basis)).astype(complex)


def _root(matrix: NDArray[Any], disp: bool = True) -> Any:
    found = np.zeros(matrix.shape)
    found[0, 0] = np.sqrt(_eigenvalues(matrix).astype(complex)).real.sum()
    return found if disp else (found, 0.0)
