"""Text encoding: words to subword pieces, pieces to vectors. Shared by the CLIP, the Transformer
and the GAN.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evalkit.models.layers import Block, RMSNorm

PADDING, UNKNOWN = 0, 1


class TextFeatures(NamedTuple):
    tokens: Tensor  # float32 [N, T, D]
    mask: Tensor  # bool [N, T], True where there is a piece
    pooled: Tensor  # float32 [N, D]

    def select(self, rows: slice | Tensor) -> TextFeatures:
        """Those of some of the texts."""
        return TextFeatures(self.tokens[rows], self.mask[rows], self.pooled[rows])


class SubwordTokenizer:
    """Texts to the numbers of subword pieces, by the longest match from the left (WordPiece; Wu et
    al. 2016).

    pieces: beginnings of words as they are ("skateboard"), continuations behind "##" ("##ing"). A
    word that cannot be put together becomes `UNKNOWN`; what does not fit the context is cut off at
    its end.
    """

    def __init__(self, pieces: Sequence[str], context: int) -> None:
        self.pieces, self.context = tuple(pieces), context
        self._number = {piece: place + 2 for place, piece in enumerate(pieces)}
        self._longest = max(map(len, pieces), default=0)
        self._splits: dict[tuple[str, bool], tuple[int, ...]] = {}  # texts repeat their words

    def __len__(self) -> int:
        return len(self.pieces) + 2

    def split(self, word: str, whole: bool = True) -> tuple[int, ...]:
        """The numbers of a word's pieces, [UNKNOWN] where it has none. whole=False takes apart even
        a word that is one piece, where that can be done: trained on both forms now and then, a
        model learns what the endings mean (Provilkov et al. 2020).
        """
        found = self._splits.get((word, whole))
        if found is None:
            found = self._splits[word, whole] = self._split(word, whole)
        return found

    def _split(self, word: str, whole: bool) -> tuple[int, ...]:
        numbers: list[int] = []
        start, end = 0, min(len(word), self._longest) if whole else len(word) - 1
        while start < len(word):
            while end > start and (("##" if start else "") + word[start:end]) not in self._number:
                end -= 1
            if end == start:
                return (UNKNOWN,) if whole else self.split(word)
            numbers.append(self._number[("##" if start else "") + word[start:end]])
            start, end = end, len(word)
        return tuple(numbers)

    def piece_ids(self, words: Sequence[str], apart: Collection[int] = ()) -> list[int]:
        """All pieces of a text that is split into words; the words at the places `apart` are taken
        apart.
        """
        if not apart:
            return list(chain.from_iterable(map(self.split, words)))
        return [
            number
            for place, word in enumerate(words)
            for number in self.split(word, place not in apart)
        ]

    def pad(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """int64 [N, context], padded with 0; a text of nothing is one unknown piece, the mark of
        "no text".
        """
        padded = np.zeros(
            (len(rows), self.context), np.int64
        )  # whose rows are filled in a tenth of the time that a tensor's take
        for row, numbers in zip(padded, rows, strict=True):
            cut = numbers[: self.context] or [UNKNOWN]
            row[: len(cut)] = cut
        return torch.from_numpy(padded)

    def encode(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """Split texts -> int64 [N, context]."""
        return self.pad([self.piece_ids(text) for text in texts])


def learn_pieces(texts: Iterable[Sequence[str]], count: int) -> tuple[str, ...]:
    """The `count` pieces of a collection of split texts, by byte pair encoding (Sennrich et al.
    2016): first every letter, as a beginning and as a continuation, then always the pair of pieces
    that stands together most often. Ties go by the alphabet.
    """
    words = [
        (["##" * (place > 0) + letter for place, letter in enumerate(word)], times)
        for word, times in _counted(texts)
    ]
    pieces = sorted({piece for split, _ in words for piece in split})
    pairs: Counter[tuple[str, str]] = Counter()
    within: dict[tuple[str, str], set[int]] = defaultdict(set)
    for place, (split, times) in enumerate(words):
        for pair in pairwise(split):
            pairs[pair] += times
            within[pair].add(place)
    while len(pieces) < count and pairs:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        pieces.append(best[0] + best[1].removeprefix("##"))
        for place in within.pop(best):
            split, times = words[place]
            for pair in pairwise(split):
                pairs[pair] -= times
                within[pair].discard(place)
            split[:] = _merged(split, best)
            for pair in pairwise(split):
                pairs[pair] += times
                within[pair].add(place)
        pairs = +pairs
    return tuple(pieces)


def _counted(texts: Iterable[Sequence[str]]) -> list[tuple[str, int]]:
    return sorted(Counter(word for text in texts for word in text).items())


def _merged(split: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in split:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece.removeprefix("##")
        else:
            merged.append(piece)
    return merged


def ended(numbers: Tensor, context: int) -> Tensor:
    """Piece numbers int64 [N, T] with an unknown piece behind each text, where the context leaves
    room for it. There a place of a picture looks that no word is about. Without it a text of one
    word tells every place that word, and none that it should be elsewhere.
    """
    numbers = F.pad(numbers, (0, 1))[:, :context]
    lengths = (numbers != PADDING).sum(1, keepdim=True)
    return torch.where(
        torch.arange(numbers.shape[1], device=numbers.device) == lengths, UNKNOWN, numbers
    )


def directions(length: int, heads: int) -> Tensor:
    """Which pieces a head looks at, bool [heads, length, length]: half of the heads look back and
    half ahead. What is before a word and what is behind it is learned in no time so, and hardly at
    all where every head looks both ways.
    """
    both = torch.ones(length, length, dtype=torch.bool)
    return torch.stack([both.tril() if head % 2 else both.triu() for head in range(heads)])


class TextTower(nn.Module):
    """A Transformer over pieces (Vaswani et al. 2017, pre-normalised), whose heads look both ways,
    or half of them back and half ahead.
    """

    def __init__(
        self,
        vocabulary: int,
        context: int,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
        ordered: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.ordered = heads, ordered
        self.word = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.position = nn.Parameter(0.02 * torch.randn(context, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = RMSNorm(width)
        nn.init.normal_(self.word.weight, std=0.3)

    def forward(self, numbers: Tensor) -> TextFeatures:  # int64 [N, T]
        mask = numbers != PADDING
        x = self.word(numbers) + self.position[: numbers.shape[1]]  # [N, T, D]
        seen = mask[:, None, None]  # [N, 1, 1, T]
        if self.ordered:
            seen = seen & directions(numbers.shape[1], self.heads).to(numbers.device)
        for block in self.blocks:
            x = block(x, mask=seen)
        x = self.norm(x) * mask[..., None]
        return TextFeatures(x, mask, F.normalize(x.sum(1), dim=-1))
