"""Training data of the bundled world: pictures, captions and dense targets, composed on the fly
from seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from evalkit.models.load import load_clip
from evalkit.models.mini_inception import GRID
from evalkit.models.text import PADDING, SubwordTokenizer, learn_pieces
from evalkit.scenes.compose import CANVAS, Scene
from evalkit.scenes.dataset import BACKGROUND_NAMES, COLOUR_NAMES, NOUNS, Examples, SceneDataset
from evalkit.scenes.vocabulary import pieces, words
from evalkit.scenes.words import split_words

CONTEXT = 24  # pieces of text


def word_tokenizer() -> SubwordTokenizer:
    """Every word of the world is one piece, and there are no others: what mini-clip reads."""
    return SubwordTokenizer(words(), CONTEXT)


def subword_tokenizer() -> SubwordTokenizer:
    """The words of the world and their endings: what dalle reads."""
    return SubwordTokenizer(pieces(), CONTEXT)


LEARNED, LONG_CONTEXT = 2000, 48  # pieces, for the captions of users


def learned_pieces(examples: Examples) -> SubwordTokenizer:
    """What a CLIP is to read: the words of the world, or pieces learned from a user's captions."""
    if isinstance(examples, SceneDataset):
        return word_tokenizer()
    return SubwordTokenizer(
        learn_pieces((split_words(text) for text in examples.captions()), LEARNED), LONG_CONTEXT
    )


def pieces_for(examples: Examples, clip: Path) -> SubwordTokenizer:
    """What a dalle is to read: the subword pieces of the world, or those that the CLIP has learned
    from the same captions.
    """
    if isinstance(examples, SceneDataset):
        return subword_tokenizer()
    config = load_clip(clip)[1]
    return SubwordTokenizer(config["words"], config["context"])


def read(texts: Sequence[str], tokenizer: SubwordTokenizer) -> Tensor:
    """int64 [N, context]."""
    return tokenizer.encode([split_words(text) for text in texts])


def up_to_the_longest(texts: Tensor) -> Tensor:
    """Without the columns that are padding in all rows."""
    return texts[:, : int((texts != PADDING).sum(1).max())]


def read_for_training(
    examples: Examples, rows: Sequence[int], randoms: Sequence[Random], tokenizer: SubwordTokenizer
) -> Tensor:
    """Captions as a generator is trained on them, int64 [N, T], as long as the longest: 10% are
    left out, for classifier-free guidance, and one word in twenty is taken apart into its pieces,
    so that endings are learned (subword regularisation).
    """
    numbers: list[list[int]] = []
    for row, random in zip(rows, randoms, strict=True):
        read = read_apart(examples.caption(row, random), random, tokenizer)
        numbers.append([] if random.random() < 0.1 else read)
    return up_to_the_longest(tokenizer.pad(numbers))


def read_apart(text: str, random: Random, tokenizer: SubwordTokenizer) -> list[int]:
    """The pieces of a text of which one word in twenty is taken apart."""
    split = split_words(text)
    return tokenizer.piece_ids(
        split, {place for place in range(len(split)) if random.random() < 0.05}
    )


class Targets(NamedTuple):
    nouns: Tensor  # int64 [N, 8, 8], len(NOUNS) where there is nothing
    colours: Tensor  # int64 [N, 8, 8], -100 where there is no shape
    backgrounds: Tensor  # int64 [N]
    whole: Tensor  # float32 [N, nouns], equal shares of the things in the picture


def targets(some: list[Scene]) -> Targets:
    nouns = torch.full((len(some), GRID, GRID), len(NOUNS))
    colours = torch.full((len(some), GRID, GRID), -100)
    whole = torch.zeros(len(some), len(NOUNS))
    for n, scene in enumerate(some):
        for item in scene.items:
            x, y = ((corner + item.size // 2) * GRID // CANVAS for corner in (item.x, item.y))
            number = NOUNS.index(item.noun)
            nouns[n, y, x] = number
            whole[n, number] += 1 / len(scene.items)
            if item.colour:
                colours[n, y, x] = COLOUR_NAMES.index(item.colour)
    return Targets(
        nouns,
        colours,
        torch.tensor([BACKGROUND_NAMES.index(scene.background) for scene in some]),
        whole,
    )
