"""The vocabularies of the trained networks, and captions as token numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

from torch import Tensor

from evalkit.models.load import load_clip
from evalkit.models.text import PADDING, SubwordTokenizer, learn_pieces
from evalkit.scenes.dataset import Examples, SceneDataset
from evalkit.scenes.vocabulary import pieces, words
from evalkit.scenes.words import split_words

CONTEXT = 24  # tokens of a caption of the bundled data set
LEARNED, LONG_CONTEXT = 2000, 48  # vocabulary size and tokens, for the captions of users


def word_tokenizer() -> SubwordTokenizer:
    """The vocabulary of mini-clip: every word of the bundled data set is one token."""
    return SubwordTokenizer(words(), CONTEXT)


def subword_tokenizer() -> SubwordTokenizer:
    """The vocabulary of dalle: the words of the bundled data set and their endings."""
    return SubwordTokenizer(pieces(), CONTEXT)


def clip_tokenizer(examples: Examples) -> SubwordTokenizer:
    """For training a CLIP: the words of the bundled data set, or subwords of a user's captions."""
    if isinstance(examples, SceneDataset):
        return word_tokenizer()
    return SubwordTokenizer(
        learn_pieces((split_words(text) for text in examples.captions()), LEARNED), LONG_CONTEXT
    )


def dalle_tokenizer(examples: Examples, clip: Path) -> SubwordTokenizer:
    """For training a dalle: the subwords of the bundled data set, or those of a user's CLIP."""
    if isinstance(examples, SceneDataset):
        return subword_tokenizer()
    config = load_clip(clip)[1]
    return SubwordTokenizer(config["words"], config["context"])


def tokenize(texts: Sequence[str], tokenizer: SubwordTokenizer) -> Tensor:
    """int64 [N, context]."""
    return tokenizer.encode([split_words(text) for text in texts])


def trim(tokens: Tensor) -> Tensor:
    """Without the columns that are padding in all rows."""
    return tokens[:, : int((tokens != PADDING).sum(1).max())]


def training_tokens(
    examples: Examples, rows: Sequence[int], randoms: Sequence[Random], tokenizer: SubwordTokenizer
) -> Tensor:
    """Captions for training a generator, int64 [N, T], as long as the longest.

    10% are empty, for classifier-free guidance. One word in twenty is split into its subwords, so
    that endings are learned (subword regularisation).
    """
    numbers: list[list[int]] = []
    for row, random in zip(rows, randoms, strict=True):
        tokens = regularised_tokens(examples.caption(row, random), random, tokenizer)
        numbers.append([] if random.random() < 0.1 else tokens)
    return trim(tokenizer.pad(numbers))


def regularised_tokens(text: str, random: Random, tokenizer: SubwordTokenizer) -> list[int]:
    """The tokens of a text with one word in twenty split into its subwords."""
    split = split_words(text)
    apart = {place for place in range(len(split)) if random.random() < 0.05}
    return tokenizer.piece_ids(split, apart)
