"""A small DALL-E (Ramesh et al. 2021): a Transformer that generates image tokens from a text.

- The text tower is initialised from a CLIP, whose token features hardly encode word order. Two more
  blocks, with half of the heads looking back and half ahead, add the order: which object is left.
- Every block attends to the text features as extra keys and values. Only image tokens are updated,
  so a step costs 64 positions and not 64 + 24.
- The pooled text is added in every block, and is the input at the first position.
- Rows and columns have separate position embeddings. Every position also receives the token above
  it, beside the token to its left: within an object these two nearly determine the next token.
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
from evalkit.models.text import TextFeatures, TextTower, append_end, directional_mask

GUIDANCE = 1.8  # default at sampling, for weights that were not trained by guidance distillation


def default_temperature(guidance: float) -> float:
    """Guidance overestimates small probabilities, so sampling prefers the likelier tokens. A model
    that samples without guidance is calibrated.
    """
    return 1.0 if guidance == 1 else 0.6


class TextConditioning(NamedTuple):
    """The inputs of one block that depend on the text only."""

    keys: Tensor  # float32 [N, heads, T, D / heads]
    values: Tensor  # float32 [N, heads, T, D / heads]
    shift: Tensor  # float32 [N, 1, D]


class KeyValueCache:
    """Keys and values of one block: of the text, and of the image tokens sampled so far."""

    def __init__(self, text: TextConditioning, length: int) -> None:
        count, heads, pieces, width = text.keys.shape
        # Keys are stored transposed: a query then reads them in memory order.
        self.keys = text.keys.new_empty(count, heads, width, pieces + length)
        self.values = text.values.new_empty(count, heads, pieces + length, width)
        self.filled = 0
        self.extend(text.keys, text.values)

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        start, self.filled = self.filled, self.filled + keys.shape[2]
        self.keys[..., start : self.filled] = keys.transpose(2, 3)
        self.values[:, :, start : self.filled] = values
        return self.keys[..., : self.filled].transpose(2, 3), self.values[:, :, : self.filled]


class DalleBlock(nn.Module):
    """Attention of image tokens to the text and to earlier image tokens, then a feed-forward layer
    with squared ReLU.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_text = RMSNorm(width)
        self.norm_attention = RMSNorm(width)
        self.norm_feed = RMSNorm(width)
        self.text_key_value = nn.Linear(width, 2 * width, bias=False)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.expand = nn.Linear(width, 4 * width, bias=False)
        self.contract = nn.Linear(4 * width, width, bias=False)
        self.condition = nn.Linear(width, width, bias=False)
        for layer in (self.project, self.contract, self.condition):
            nn.init.zeros_(layer.weight)

    def project_text(self, text: TextFeatures) -> TextConditioning:
        parts = self.text_key_value(self.norm_text(text.tokens)).unflatten(2, (2, self.heads, -1))
        keys, values = parts.permute(2, 0, 3, 1, 4)
        keys = F.rms_norm(keys, keys.shape[-1:], eps=1e-6)
        return TextConditioning(keys, values, self.condition(text.pooled)[:, None])

    def forward(
        self, x: Tensor, text: TextConditioning, mask: Tensor, cache: KeyValueCache | None = None
    ) -> Tensor:
        """x: [N, L, D]. A cache already holds the keys and values of the text."""
        return self.feed_forward(self.attention(x, text, mask, cache))

    def attention(
        self, x: Tensor, text: TextConditioning, mask: Tensor, cache: KeyValueCache | None = None
    ) -> Tensor:
        """The first half of the block, the only one that depends on the text."""
        x = x + text.shift
        parts = self.query_key_value(self.norm_attention(x)).unflatten(2, (3, self.heads, -1))
        query, key = F.rms_norm(parts[:, :, :2], parts.shape[-1:], eps=1e-6).permute(
            2, 0, 3, 1, 4
        )  # each [N, heads, L, D / heads]
        value = parts[:, :, 2].transpose(1, 2)
        if cache is None:
            key = torch.cat((text.keys, key), 2)  # [N, heads, T + L, D / heads]
            value = torch.cat((text.values, value), 2)
        else:
            key, value = cache.extend(key, value)
        return x + self.project(attend(query, key, value, mask).transpose(1, 2).flatten(2))

    def feed_forward(self, x: Tensor) -> Tensor:
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
        self.token = nn.Embedding(codes, width)
        self.above = nn.Embedding(codes + 1, width)  # the last one: the first row has none above
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

    def encode_text(self, ids: Tensor) -> TextFeatures:
        """Piece ids int64 [N, T] -> token features [N, T, D], mask [N, T] and pooled [N, D]."""
        ids = append_end(ids, len(self.text.position))
        text = self.text(ids)
        directions = directional_mask(ids.shape[1], self.heads).to(ids.device)
        mask = text.mask[:, None, None] & directions  # [N, heads, T, T]
        x = text.tokens
        for block in self.order:
            x = block(x, mask)
        return text._replace(tokens=x * text.mask[..., None])

    def positions(self) -> Tensor:
        """[side * side, D], row by row."""
        return (self.row[:, None] + self.column[None]).flatten(0, 1)

    def forward(self, ids: Tensor, tokens: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Teacher forcing. ids: int64 [N, T]; tokens: int64 [N, L] -> logits [N, L, codes];
        position i sees the tokens before i.

        hidden: bool [N], images whose tokens are all hidden from the network, so that it must take
        the layout from the text. With the earlier tokens visible, the text adds information only at
        the first token of an object: a weak training signal.
        """
        text = self.encode_text(ids)
        x = self.embed(text, tokens, hidden)
        mask = self.attention_mask(text, tokens.shape[1])
        for block in self.each_block():
            x = block(x, block.project_text(text), mask)
        return self.head(self.norm(x))

    def embed(self, text: TextFeatures, tokens: Tensor, hidden: Tensor | None = None) -> Tensor:
        """The input of the first block, [N, L, D]: at each position the token before it, the token
        above it, and the position.
        """
        over = F.pad(
            tokens[:, : -self.side], (self.side, 0), value=self.token.num_embeddings
        )  # [N, L]
        left, above = self.token(tokens[:, :-1]), self.above(over)
        if hidden is not None:
            visible = ~hidden[:, None, None]
            left, above = left * visible, above * visible
        return torch.cat((self.start(text.pooled)[:, None], left), 1) + above + self.positions()

    def attention_mask(self, text: TextFeatures, length: int) -> Tensor:
        """bool [N, 1, L, T + L]: every position attends to the text, itself and earlier ones."""
        causal = torch.ones(length, length, dtype=torch.bool, device=text.mask.device).tril()
        return torch.cat(
            (text.mask[:, None].expand(-1, length, -1), causal.expand(len(text.mask), -1, -1)), 2
        )[:, None]

    @torch.no_grad()
    def sample(
        self,
        ids: Tensor,
        empty: Tensor,
        seeds: Sequence[int],
        *,
        guidance: float = GUIDANCE,
        temperature: float | None = None,
        top_k: int = 48,
        top_p: float = 0.7,
    ) -> Tensor:
        """Sample one image per text: int64 [N, L].

        Args:
            empty: the piece ids of the empty text, int64 [1, T].
            seeds: one per image; image i depends on seed i and text i only.
            guidance: g; the logits are those without text plus g times the difference that the text
                makes (Ho and Salimans 2022).
            temperature: None = `default_temperature(guidance)`.
        """
        count, guided = len(ids), guidance != 1.0
        temperature = default_temperature(guidance) if temperature is None else temperature
        rows = torch.cat((ids, empty.expand(count, -1))) if guided else ids
        text = self.encode_text(rows)
        positions, pieces = self.positions(), text.tokens.shape[1]
        uniform = uniform_numbers(seeds, self.length).to(ids.device)
        conditioning = [block.project_text(text) for block in self.each_block()]
        caches = [KeyValueCache(each, self.length) for each in conditioning]
        mask = torch.cat((text.mask, text.mask.new_ones(len(rows), self.length)), 1)
        mask = mask[:, None, None]  # [N, 1, 1, T + L]
        sampled = ids.new_empty(count, self.length)
        x = self.start(text.pooled)[:, None]
        for place in range(self.length):
            over = (
                sampled[:, place - self.side]
                if place >= self.side
                else sampled.new_full((count,), self.token.num_embeddings)
            )
            x = x + self.above(over.repeat(2 if guided else 1))[:, None] + positions[place]
            for block, each, cache in zip(self.each_block(), conditioning, caches, strict=True):
                x = block(x, each, mask[..., : pieces + place + 1], cache)
            x = self.norm(x)[:, 0]
            if guided:  # before the head, which is linear: the same as guiding its logits
                with_text, without = x.chunk(2)
                x = without + guidance * (with_text - without)
            codes = sample_codes(self.head(x), uniform[:, place], temperature, top_k, top_p)
            sampled[:, place] = codes
            x = self.token(codes.repeat(2 if guided else 1))[:, None]
        return sampled


def uniform_numbers(seeds: Sequence[int], length: int) -> Tensor:
    """float64 [N, length] in 0..1; each row depends on its own seed only."""
    generators = (torch.Generator().manual_seed(seed) for seed in seeds)
    return torch.stack(
        [torch.rand(length, generator=each, dtype=torch.float64) for each in generators]
    )


def sample_codes(
    logits: Tensor, uniform: Tensor, temperature: float, top_k: int, top_p: float
) -> Tensor:
    """One code per row by inverse transform sampling: logits [N, codes] and uniform [N] in 0..1 ->
    int64 [N].

    top_k keeps the k likeliest codes (0 = all); top_p then keeps the smallest set of these whose
    probability reaches p (Holtzman et al. 2020).
    """
    if temperature == 0:
        return logits.argmax(1)
    best, codes = logits.topk(min(top_k or logits.shape[1], logits.shape[1]), dim=1)  # best first
    probabilities = best.double().div(temperature).softmax(1)
    before = probabilities.cumsum(1) - probabilities
    total = probabilities.masked_fill(before >= top_p, 0.0).cumsum(1)
    place = torch.searchsorted(total, (uniform * total[:, -1])[:, None], right=True)
    return codes.gather(1, place.clamp(max=codes.shape[1] - 1))[:, 0]
