"""DALL-E in small (Ramesh et al. 2021): a Transformer that writes a picture as image tokens, one after another, given a text.

What is special here
- The text is read by the text tower of a CLIP. Its token features are offered to every block as keys and values, before those
  of the image tokens; only image tokens are updated, so a step costs 64 positions and not 64 + 24.
- The pooled text is added in every block, and is the input at the first position.
- Row and column have position embeddings of their own, and every position is told the token above it, as it is the token to its
  left: within a thing these two nearly settle what comes next.
- Without a text (10% of the training) the same network is the unconditional model that classifier-free guidance needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evalkit.models.layers import RMSNorm, attend
from evalkit.models.text import TextFeatures, TextTower


class Cache:
    """Keys and values of one block, of the text and of the image tokens sampled so far."""

    def __init__(self, count: int, heads: int, length: int, width: int, like: Tensor) -> None:
        self.keys = like.new_empty(count, heads, length, width)
        self.values = like.new_empty(count, heads, length, width)
        self.filled = 0

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        end = self.filled + keys.shape[2]
        self.keys[:, :, self.filled : end], self.values[:, :, self.filled : end] = keys, values
        self.filled = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class DalleBlock(nn.Module):
    """Attention of image tokens to the text and to earlier image tokens, then a feed-forward layer with squared ReLU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_text, self.norm_attention, self.norm_feed = RMSNorm(width), RMSNorm(width), RMSNorm(width)
        self.text_key_value = nn.Linear(width, 2 * width, bias=False)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.expand = nn.Linear(width, 4 * width, bias=False)
        self.contract = nn.Linear(4 * width, width, bias=False)
        self.condition = nn.Linear(width, width, bias=False)
        for layer in (self.project, self.contract, self.condition):
            nn.init.zeros_(layer.weight)

    def read_text(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Token features [N, T, D] -> keys and values, each [N, heads, T, D / heads]."""
        parts = self.text_key_value(self.norm_text(text)).unflatten(2, (2, self.heads, -1))
        key, value = parts.permute(2, 0, 3, 1, 4)
        return F.rms_norm(key, key.shape[-1:], eps=1e-6), value

    def forward(self, x: Tensor, pooled: Tensor, read: tuple[Tensor, Tensor] | None, mask: Tensor, cache: Cache | None) -> Tensor:
        """x: [N, L, D]; pooled: [N, 1, D]; read: the text's keys and values, or None where the cache holds them already."""
        x = x + self.condition(pooled)
        parts = self.query_key_value(self.norm_attention(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each [N, heads, L, D / heads]
        query, key = F.rms_norm(query, query.shape[-1:], eps=1e-6), F.rms_norm(key, key.shape[-1:], eps=1e-6)
        if read is not None:
            key, value = torch.cat((read[0], key), 2), torch.cat((read[1], value), 2)  # [N, heads, T + L, D / heads]
        if cache is not None:
            key, value = cache.extend(key, value)
        x = x + self.project(attend(query, key, value, mask).transpose(1, 2).flatten(2))
        return x + self.contract(F.relu(self.expand(self.norm_feed(x))).square())


class Dalle(nn.Module):
    def __init__(self, text: TextTower, codes: int, side: int = 8, width: int = 128, depth: int = 6, heads: int = 4) -> None:
        super().__init__()
        self.text, self.side, self.length, self.heads = text, side, side * side, heads
        self.token, self.above = nn.Embedding(codes, width), nn.Embedding(codes + 1, width)  # the last one: there is nothing above
        self.row, self.column = (nn.Parameter(0.02 * torch.randn(side, width)) for _ in range(2))
        self.start = nn.Linear(width, width, bias=False)
        self.blocks = nn.ModuleList(DalleBlock(width, heads) for _ in range(depth))
        self.norm = RMSNorm(width)
        self.head = nn.Linear(width, codes)
        nn.init.normal_(self.token.weight, std=0.3)
        nn.init.normal_(self.above.weight, std=0.2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _blocks(self) -> Iterator[DalleBlock]:
        return (cast(DalleBlock, block) for block in self.blocks)

    def encode_text(self, numbers: Tensor) -> TextFeatures:
        """Piece numbers int64 [N, T] -> token features [N, T, D], mask [N, T] and pooled [N, D]."""
        return self.text(numbers)

    def positions(self) -> Tensor:
        """[side * side, D], row by row."""
        return (self.row[:, None] + self.column[None]).flatten(0, 1)

    def forward(self, numbers: Tensor, tokens: Tensor) -> Tensor:
        """Teacher forcing. numbers: int64 [N, T]; tokens: int64 [N, L] -> logits [N, L, codes]; position i sees tokens before i."""
        text = self.encode_text(numbers)
        count, length = tokens.shape
        pooled = text.pooled[:, None]
        over = F.pad(tokens[:, : -self.side], (self.side, 0), value=self.token.num_embeddings)  # [N, L]
        x = torch.cat((self.start(pooled), self.token(tokens[:, :-1])), 1) + self.above(over) + self.positions()  # [N, L, D]
        causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        mask = torch.cat((text.mask[:, None].expand(-1, length, -1), causal.expand(count, -1, -1)), 2)[:, None]  # [N, 1, L, T + L]
        for block in self._blocks():
            x = block(x, pooled, block.read_text(text.tokens), mask, None)
        return self.head(self.norm(x))

    @torch.no_grad()
    def sample(
        self,
        numbers: Tensor,
        empty: Tensor,
        seeds: Sequence[int],
        *,
        guidance: float = 1.8,
        temperature: float = 0.7,
        top_k: int = 200,
        top_p: float = 0.9,
    ) -> Tensor:
        """Draw one picture per text: int64 [N, L].

        empty: the piece numbers of no text, int64 [1, T]. Every picture has random numbers of its own, from its seed. With
        guidance g the logits are those without text plus g times the difference that the text makes (Ho and Salimans 2022).
        """
        count, guided = len(numbers), guidance != 1.0
        rows = torch.cat((numbers, empty.expand(count, -1))) if guided else numbers
        text = self.encode_text(rows)
        pooled, positions = text.pooled[:, None], self.positions()
        uniform = torch.stack(
            [torch.rand(self.length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
        ).to(numbers.device)
        pieces, part = numbers.shape[1], positions.shape[1] // self.heads
        caches = [Cache(len(rows), self.heads, pieces + self.length, part, positions) for _ in self.blocks]
        reads = [block.read_text(text.tokens) for block in self._blocks()]
        seen = torch.cat((text.mask, text.mask.new_ones(len(rows), self.length)), 1)[:, None, None]  # [N, 1, 1, T + L]
        drawn = numbers.new_empty(count, self.length)
        x = self.start(pooled)
        for place in range(self.length):
            over = drawn[:, place - self.side] if place >= self.side else drawn.new_full((count,), self.token.num_embeddings)
            x = x + self.above(over.repeat(2 if guided else 1))[:, None] + positions[place]
            mask = seen[..., : pieces + place + 1]
            for block, read, cache in zip(self._blocks(), reads, caches, strict=True):
                x = block(x, pooled, read if place == 0 else None, mask, cache)
            logits = self.head(self.norm(x))[:, 0]
            if guided:
                with_text, without = logits.chunk(2)
                logits = without + guidance * (with_text - without)
            drawn[:, place] = choose(logits, uniform[:, place], temperature, top_k, top_p)
            x = self.token(drawn[:, place].repeat(2 if guided else 1))[:, None]
        return drawn


def choose(logits: Tensor, uniform: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """One code per row by inverse transform sampling: logits [N, codes] and uniform [N] in 0..1 -> int64 [N].

    top_k keeps the likeliest codes (0 = all); top_p of these keeps the fewest whose chances reach p (Holtzman et al. 2020).
    """
    if temperature == 0:
        return logits.argmax(1)
    best, codes = logits.topk(min(top_k or logits.shape[1], logits.shape[1]), dim=1)  # best first
    chances = best.double().div(temperature).softmax(1)
    before = chances.cumsum(1) - chances
    chances = chances.masked_fill(before >= top_p, 0.0)
    total = chances.cumsum(1)
    place = torch.searchsorted(total, (uniform * total[:, -1])[:, None], right=True).clamp(max=codes.shape[1] - 1)
    return codes.gather(1, place)[:, 0]
