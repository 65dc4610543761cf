"""DALL-E in small (Ramesh et al. 2021): a Transformer that writes a picture as image tokens, one
after another, given a text.

What is special here
- The text is read by the text tower of a CLIP, which knows what words mean and hardly in which
  order they stand. Two blocks on top of it, in which half of the heads look back and half ahead,
  tell every word what stands before it and what behind: which of two things is on the left.
- The token features are offered to every block as keys and values, before those of the image
  tokens; only image tokens are updated, so a step costs 64 positions and not 64 + 24.
- The pooled text is added in every block, and is the input at the first position.
- Row and column have position embeddings of their own, and every position is told the token above
  it, as it is the token to its
  left: within a thing these two nearly settle what comes next.
- Without a text (10% of the training) the same network is the unconditional model that
  classifier-free guidance needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evalkit.models.layers import Block, RMSNorm, attend
from evalkit.models.text import TextFeatures, TextTower, directions, ended

GUIDANCE = 1.8  # at sampling, of weights that were not taught by a guided teacher


def usual_temperature(guidance: float) -> float:
    """Guidance makes too much of small chances, so the likelier tokens are preferred; who has
    learned to do without it has learned which chances count.
    """
    return 1.0 if guidance == 1 else 0.6


class Read(NamedTuple):
    """What one block takes from the text."""

    keys: Tensor  # float32 [N, heads, T, D / heads]
    values: Tensor  # float32 [N, heads, T, D / heads]
    shift: Tensor  # float32 [N, 1, D]


class Cache:
    """Keys and values of one block, of the text and of the image tokens sampled so far. Keys are
    kept transposed, and so read in the order in which a query needs them.
    """

    def __init__(self, read: Read, length: int) -> None:
        count, heads, pieces, width = read.keys.shape
        self.keys = read.keys.new_empty(count, heads, width, pieces + length)
        self.values = read.values.new_empty(count, heads, pieces + length, width)
        self.filled = 0
        self.extend(read.keys, read.values)

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        end = self.filled + keys.shape[2]
        self.keys[..., self.filled : end], self.values[:, :, self.filled : end] = (
            keys.transpose(2, 3),
            values,
        )
        self.filled = end
        return self.keys[..., :end].transpose(2, 3), self.values[:, :, :end]


class DalleBlock(nn.Module):
    """Attention of image tokens to the text and to earlier image tokens, then a feed-forward layer
    with squared ReLU.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_text, self.norm_attention, self.norm_feed = (
            RMSNorm(width),
            RMSNorm(width),
            RMSNorm(width),
        )
        self.text_key_value = nn.Linear(width, 2 * width, bias=False)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.expand = nn.Linear(width, 4 * width, bias=False)
        self.contract = nn.Linear(4 * width, width, bias=False)
        self.condition = nn.Linear(width, width, bias=False)
        for layer in (self.project, self.contract, self.condition):
            nn.init.zeros_(layer.weight)

    def project_text(self, text: TextFeatures) -> Read:
        parts = self.text_key_value(self.norm_text(text.tokens)).unflatten(2, (2, self.heads, -1))
        keys, values = parts.permute(2, 0, 3, 1, 4)
        return Read(
            F.rms_norm(keys, keys.shape[-1:], eps=1e-6),
            values,
            self.condition(text.pooled)[:, None],
        )

    def forward(self, x: Tensor, read: Read, mask: Tensor, cache: Cache | None = None) -> Tensor:
        """x: [N, L, D]. A cache holds the keys and values of the text already."""
        return self.feed_forward(self.attention(x, read, mask, cache))

    def attention(self, x: Tensor, read: Read, mask: Tensor, cache: Cache | None = None) -> Tensor:
        """The first half of the block, attention: all that it has from the text."""
        x = x + read.shift
        parts = self.query_key_value(self.norm_attention(x)).unflatten(2, (3, self.heads, -1))
        query, key = F.rms_norm(parts[:, :, :2], parts.shape[-1:], eps=1e-6).permute(
            2, 0, 3, 1, 4
        )  # each [N, heads, L, D / heads]
        value = parts[:, :, 2].transpose(1, 2)
        if cache is None:
            key, value = (
                torch.cat((read.keys, key), 2),
                torch.cat((read.values, value), 2),
            )  # [N, heads, T + L, D / heads]
        else:
            key, value = cache.extend(key, value)
        return x + self.project(attend(query, key, value, mask).transpose(1, 2).flatten(2))

    def feed_forward(self, x: Tensor) -> Tensor:
        """The second half."""
        return x + self.contract(F.relu(self.expand(self.norm_feed(x))).square())


class Dalle(nn.Module):
    def __init__(
        self,
        text: TextTower,
        codes: int,
        side: int = 8,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.text, self.side, self.length, self.heads = text, side, side * side, heads
        self.token, self.above = (
            nn.Embedding(codes, width),
            nn.Embedding(codes + 1, width),
        )  # the last one: there is nothing above
        self.row, self.column = (nn.Parameter(0.02 * torch.randn(side, width)) for _ in range(2))
        self.start = nn.Linear(width, width, bias=False)
        self.order = nn.ModuleList(Block(width, heads) for _ in range(2))
        self.blocks = nn.ModuleList(DalleBlock(width, heads) for _ in range(depth))
        self.norm = RMSNorm(width)
        self.head = nn.Linear(width, codes)
        nn.init.normal_(self.token.weight, std=0.3)
        nn.init.normal_(self.above.weight, std=0.2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def each_block(self) -> Iterator[DalleBlock]:
        return (cast(DalleBlock, block) for block in self.blocks)

    def encode_text(self, numbers: Tensor) -> TextFeatures:
        """Piece numbers int64 [N, T] -> token features [N, T, D], mask [N, T] and pooled [N, D]."""
        numbers = ended(numbers, len(self.text.position))
        text = self.text(numbers)
        mask = text.mask[:, None, None] & directions(numbers.shape[1], self.heads).to(
            numbers.device
        )  # [N, heads, T, T]
        x = text.tokens
        for block in self.order:
            x = block(x, mask)
        return text._replace(tokens=x * text.mask[..., None])

    def positions(self) -> Tensor:
        """[side * side, D], row by row."""
        return (self.row[:, None] + self.column[None]).flatten(0, 1)

    def forward(self, numbers: Tensor, tokens: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Teacher forcing. numbers: int64 [N, T]; tokens: int64 [N, L] -> logits [N, L, codes];
        position i sees tokens before i.

        hidden: bool [N], pictures of which no token is seen, so that the text alone must say what
        is where. When the tokens before are seen, what is asked for is only news at the first token
        of a thing, which is little to learn from.
        """
        text = self.encode_text(numbers)
        x = self.embed(text, tokens, hidden)
        mask = self.attention_mask(text, tokens.shape[1])
        for block in self.each_block():
            x = block(x, block.project_text(text), mask)
        return self.head(self.norm(x))

    def embed(self, text: TextFeatures, tokens: Tensor, hidden: Tensor | None = None) -> Tensor:
        """What the first block gets, [N, L, D]: at each place the tokens before it and above it,
        and where it is.
        """
        over = F.pad(
            tokens[:, : -self.side], (self.side, 0), value=self.token.num_embeddings
        )  # [N, L]
        left, above = self.token(tokens[:, :-1]), self.above(over)
        if hidden is not None:
            seen = ~hidden[:, None, None]
            left, above = left * seen, above * seen
        return torch.cat((self.start(text.pooled)[:, None], left), 1) + above + self.positions()

    def attention_mask(self, text: TextFeatures, length: int) -> Tensor:
        """What each place may look at, bool [N, 1, L, T + L]: the text, itself and the places
        before it.
        """
        causal = torch.ones(length, length, dtype=torch.bool, device=text.mask.device).tril()
        return torch.cat(
            (text.mask[:, None].expand(-1, length, -1), causal.expand(len(text.mask), -1, -1)), 2
        )[:, None]

    @torch.no_grad()
    def sample(
        self,
        numbers: Tensor,
        empty: Tensor,
        seeds: Sequence[int],
        *,
        guidance: float = GUIDANCE,
        temperature: float | None = None,
        top_k: int = 48,
        top_p: float = 0.7,
    ) -> Tensor:
        """Draw one picture per text: int64 [N, L]. Without a temperature it is the usual one.

        empty: the piece numbers of no text, int64 [1, T]. Every picture has random numbers of its
        own, from its seed. With guidance g the logits are those without text plus g times the
        difference that the text makes (Ho and Salimans 2022).
        """
        count, guided = len(numbers), guidance != 1.0
        temperature = usual_temperature(guidance) if temperature is None else temperature
        rows = torch.cat((numbers, empty.expand(count, -1))) if guided else numbers
        text = self.encode_text(rows)
        positions, pieces = self.positions(), text.tokens.shape[1]
        uniform = torch.stack(
            [
                torch.rand(
                    self.length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
                )
                for seed in seeds
            ]
        ).to(numbers.device)
        reads = [block.project_text(text) for block in self.each_block()]
        caches = [Cache(read, self.length) for read in reads]
        seen = torch.cat((text.mask, text.mask.new_ones(len(rows), self.length)), 1)[
            :, None, None
        ]  # [N, 1, 1, T + L]
        drawn = numbers.new_empty(count, self.length)
        x = self.start(text.pooled)[:, None]
        for place in range(self.length):
            over = (
                drawn[:, place - self.side]
                if place >= self.side
                else drawn.new_full((count,), self.token.num_embeddings)
            )
            x = x + self.above(over.repeat(2 if guided else 1))[:, None] + positions[place]
            for block, read, cache in zip(self.each_block(), reads, caches, strict=True):
                x = block(x, read, seen[..., : pieces + place + 1], cache)
            x = self.norm(x)[:, 0]
            if guided:  # the head is linear: logits of the difference are the difference of logits
                with_text, without = x.chunk(2)
                x = without + guidance * (with_text - without)
            drawn[:, place] = choose(self.head(x), uniform[:, place], temperature, top_k, top_p)
            x = self.token(drawn[:, place].repeat(2 if guided else 1))[:, None]
        return drawn


def choose(logits: Tensor, uniform: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """One code per row by inverse transform sampling: logits [N, codes] and uniform [N] in 0..1 ->
    int64 [N].

    top_k keeps the likeliest codes (0 = all); top_p of these keeps the fewest whose chances reach p
    (Holtzman et al. 2020).
    """
    if temperature == 0:
        return logits.argmax(1)
    best, codes = logits.topk(min(top_k or logits.shape[1], logits.shape[1]), dim=1)  # best first
    chances = best.double().div(temperature).softmax(1)
    before = chances.cumsum(1) - chances
    chances = chances.masked_fill(before >= top_p, 0.0)
    total = chances.cumsum(1)
    place = torch.searchsorted(total, (uniform * total[:, -1])[:, None], right=True).clamp(
        max=codes.shape[1] - 1
    )
    return codes.gather(1, place)[:, 0]
