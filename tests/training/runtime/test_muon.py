"""Muon: orthogonalised updates, and torch's own Muon as an oracle."""

import pytest
import torch
from torch import nn

from evalkit.training.runtime.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 32, 8), (2, 8, 32)])
def test_singular_values_come_close_to_one(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert float(values.min()) > 0.3
    assert float(values.max()) < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    alignment = torch.einsum("nij,nij->n", orthogonalise(matrices), left @ right) / min(shape[1:])
    assert float(alignment.min()) > 0.7  # the same singular vectors


def test_muon_steps_like_that_of_torch() -> None:
    """torch's computes in bfloat16; both take the same rate on these matrices."""
    torch.manual_seed(0)
    ours, theirs = (
        nn.Parameter(torch.randn(16, 8, generator=torch.Generator().manual_seed(1)))
        for _ in range(2)
    )
    before = ours.detach().clone()
    optimisers = (
        Muon([ours], lr=0.1),
        torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0, momentum=0.95),
    )
    for _ in range(3):
        gradient = torch.randn(16, 8)
        for parameter, optimiser in zip((ours, theirs), optimisers, strict=True):
            parameter.grad = gradient.clone()
            optimiser.step()
    moved, difference = (ours - before).detach().norm(), (ours - theirs).detach().norm()
    assert float(difference) < 0.03 * float(moved)
