"""Memoization by the content of tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evalkit.metrics.memoized import clear_memoized, memoized


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
    array[0] = 5  # changes the tensor in place, without its version counter
    assert total(x) == 8
    assert total(x, k=2) == 16
    assert total(x.float()) == 8
    assert calls == [1, 1, 2, 1]
    clear_memoized()
    total(x)
    assert len(calls) == 5
