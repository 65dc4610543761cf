"""Layers that several bundled networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RMSNorm(nn.Module):
    """Root mean square normalisation with a gain (Zhang and Sennrich 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.gain.to(x.dtype), eps=1e-6)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Attention (Vaswani et al. 2017) of normalised queries and keys.

    query, key, value: [N, heads, length, D / heads]. mask: bool, True where attention is allowed,
    broadcast to [N, heads, queries, keys].
    """
    # Written out: at our lengths (up to 88) a third of the time of PyTorch's fused kernel on a CPU.
    scores = (query * (2.0 / query.shape[-1] ** 0.5)) @ key.transpose(2, 3)
    return scores.masked_fill(~mask, -1e4).softmax(-1).to(value.dtype) @ value


class Block(nn.Module):
    """Attention and a feed-forward layer, each on a normalised residual stream.

    QK-norm (Henry et al. 2020) and squared ReLU (So et al. 2021); output projections start at zero,
    so that a new block is the identity.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_feed = RMSNorm(width), RMSNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.expand = nn.Linear(width, 4 * width, bias=False)
        self.contract = nn.Linear(4 * width, width, bias=False)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.contract.weight)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: [N, T, D]. mask: as in `attend`."""
        count, length, width = x.shape
        parts = self.query_key_value(self.norm_attention(x)).view(
            count, length, 3, self.heads, width // self.heads
        )
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each [N, heads, T, D / heads]
        query = F.rms_norm(query, query.shape[-1:], eps=1e-6)
        key = F.rms_norm(key, key.shape[-1:], eps=1e-6)
        attended = attend(query, key, value, mask).transpose(1, 2).reshape(count, length, width)
        x = x + self.project(attended)
        return x + self.contract(F.relu(self.expand(self.norm_feed(x))).square())


class Residual(nn.Module):
    """Two 3x3 convolutions on a residual path, with group normalisation; the second convolution
    starts at zero.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip
        for parameter in self.path[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(x)
