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

PADDING, UNKNOWN = 0, 1  # the ids before those of the pieces


class TextFeatures(NamedTuple):
    tokens: Tensor  # float32 [N, T, D]
    mask: Tensor  # bool [N, T], True where there is a piece
    pooled: Tensor  # float32 [N, D]

    def select(self, rows: slice | Tensor) -> TextFeatures:
        return TextFeatures(self.tokens[rows], self.mask[rows], self.pooled[rows])


class SubwordTokenizer:
    """Words to the ids of subword pieces, by the longest match from the left (WordPiece; Wu et al.
    2016).

    pieces: the beginning of a word is written plainly ("skateboard"), a continuation with "##"
    ("##ing"). A word that no pieces form becomes `UNKNOWN`; ids beyond the context are cut off.
    """

    def __init__(self, pieces: Sequence[str], context: int) -> None:
        self.pieces, self.context = tuple(pieces), context
        self._ids = {piece: place + 2 for place, piece in enumerate(pieces)}
        self._longest = max(map(len, pieces), default=0)
        self._memoized: dict[tuple[str, bool], tuple[int, ...]] = {}  # texts repeat their words

    def __len__(self) -> int:
        return len(self.pieces) + 2

    def split(self, word: str, whole: bool = True) -> tuple[int, ...]:
        """The ids of a word's pieces, or [UNKNOWN]. whole=False splits even a word that is one
        piece, where possible: a model trained on both forms learns what the endings mean (subword
        regularisation; Provilkov et al. 2020).
        """
        ids = self._memoized.get((word, whole))
        if ids is None:
            ids = self._memoized[word, whole] = self._split(word, whole)
        return ids

    def _split(self, word: str, whole: bool) -> tuple[int, ...]:
        ids: list[int] = []
        start, end = 0, min(len(word), self._longest) if whole else len(word) - 1
        while start < len(word):
            while end > start and (("##" if start else "") + word[start:end]) not in self._ids:
                end -= 1
            if end == start:
                return (UNKNOWN,) if whole else self.split(word)
            ids.append(self._ids[("##" if start else "") + word[start:end]])
            start, end = end, len(word)
        return tuple(ids)

    def piece_ids(self, words: Sequence[str], apart: Collection[int] = ()) -> list[int]:
        """The ids of a text, given as words. The words at the places `apart` are split further."""
        if not apart:
            return list(chain.from_iterable(map(self.split, words)))
        split = (self.split(word, place not in apart) for place, word in enumerate(words))
        return list(chain.from_iterable(split))

    def pad(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """int64 [N, context], padded with 0. An empty text becomes one unknown piece."""
        padded = np.zeros((len(rows), self.context), np.int64)  # 10 times as fast as a tensor
        for row, ids in zip(padded, rows, strict=True):
            cut = ids[: self.context] or [UNKNOWN]
            row[: len(cut)] = cut
        return torch.from_numpy(padded)

    def encode(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """Texts, each given as words -> int64 [N, context]."""
        return self.pad([self.piece_ids(text) for text in texts])


def learn_pieces(texts: Iterable[Sequence[str]], count: int) -> tuple[str, ...]:
    """The `count` pieces of a collection of texts, each given as words, by byte pair encoding
    (Sennrich et al. 2016): first every letter, as a beginning and as a continuation, then
    repeatedly the most frequent pair of neighbouring pieces. Ties are broken alphabetically.
    """
    counts = sorted(Counter(chain.from_iterable(texts)).items())
    words = [
        (["##" * (place > 0) + letter for place, letter in enumerate(word)], times)
        for word, times in counts
    ]
    pieces = sorted({piece for split, _ in words for piece in split})
    pairs: Counter[tuple[str, str]] = Counter()
    within: dict[tuple[str, str], set[int]] = defaultdict(set)  # pair -> the words that hold it
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
        pairs = +pairs  # drops pairs with a count of 0
    return tuple(pieces)


def _merged(split: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in split:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece.removeprefix("##")
        else:
            merged.append(piece)
    return merged


def append_end(ids: Tensor, context: int) -> Tensor:
    """Piece ids int64 [N, T] with an unknown piece after each text, where the context has room.

    It serves as the end token, to which positions of an image attend that no word describes.
    Without it, every position would attend fully to the only word of a one-word text.
    """
    ids = F.pad(ids, (0, 1))[:, :context]
    lengths = (ids != PADDING).sum(1, keepdim=True)
    return torch.where(torch.arange(ids.shape[1], device=ids.device) == lengths, UNKNOWN, ids)


def directional_mask(length: int, heads: int) -> Tensor:
    """Which pieces each head attends to, bool [heads, length, length]: half of the heads look back
    and half ahead. Word order is learned quickly this way, and hardly at all if every head looks
    both ways.
    """
    both = torch.ones(length, length, dtype=torch.bool)
    return torch.stack([both.tril() if head % 2 else both.triu() for head in range(heads)])


class TextTower(nn.Module):
    """A Transformer over pieces (Vaswani et al. 2017, pre-normalised). Its heads look both ways or,
    if `ordered`, half of them back and half ahead.
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

    def forward(self, ids: Tensor) -> TextFeatures:
        """ids: int64 [N, T]."""
        mask = ids != PADDING
        x = self.word(ids) + self.position[: ids.shape[1]]  # [N, T, D]
        allowed = mask[:, None, None]  # [N, 1, 1, T]
        if self.ordered:
            allowed = allowed & directional_mask(ids.shape[1], self.heads).to(ids.device)
        for block in self.blocks:
            x = block(x, mask=allowed)
        x = self.norm(x) * mask[..., None]
        return TextFeatures(x, mask, F.normalize(x.sum(1), dim=-1))
