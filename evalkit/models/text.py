"""Text encoding: words to numbers, numbers to vectors. Shared by the CLIP, the Transformer and the GAN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evalkit.models.layers import Block, RMSNorm

PADDING, UNKNOWN = 0, 1


class TextFeatures(NamedTuple):
    tokens: Tensor  # float32 [N, T, D]
    mask: Tensor  # bool [N, T], True where there is a word
    pooled: Tensor  # float32 [N, D]


class WordTokenizer:
    """Texts to word numbers. Unknown words become `UNKNOWN`; texts longer than the context are cut at its end and counted."""

    def __init__(self, words: Sequence[str], context: int) -> None:
        self.words, self.context = tuple(words), context
        self._number = {word: place + 2 for place, word in enumerate(words)}

    def __len__(self) -> int:
        return len(self.words) + 2

    def encode(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """Split texts -> int64 [N, context], padded with 0."""
        rows = torch.zeros(len(texts), self.context, dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            numbers = [self._number.get(word, UNKNOWN) for word in text[: self.context]] or [UNKNOWN]
            row[: len(numbers)] = torch.tensor(numbers)
        return rows


class TextTower(nn.Module):
    """A bidirectional Transformer over words (Vaswani et al. 2017, pre-normalised)."""

    def __init__(self, vocabulary: int, context: int, width: int = 128, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.position = nn.Parameter(0.02 * torch.randn(context, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = RMSNorm(width)
        nn.init.normal_(self.word.weight, std=0.3)

    def forward(self, numbers: Tensor) -> TextFeatures:  # int64 [N, T]
        mask = numbers != PADDING
        x = self.word(numbers) + self.position[: numbers.shape[1]]  # [N, T, D]
        for block in self.blocks:
            x = block(x, mask=mask[:, None, None, :])
        x = self.norm(x) * mask[..., None]
        return TextFeatures(x, mask, F.normalize(x.sum(1), dim=-1))
