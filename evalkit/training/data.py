"""Training data of the bundled world: pictures, captions and dense targets, composed on the fly from seeds."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from random import Random
from typing import NamedTuple, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.models.load import load_clip
from evalkit.models.mini_inception import GRID
from evalkit.models.text import PADDING, SubwordTokenizer, learn_pieces
from evalkit.scenes.captions import caption
from evalkit.scenes.compose import CANVAS, Kind, Scene, compose, render
from evalkit.scenes.vocabulary import UNREAD, pieces, words
from evalkit.scenes.world import BACKGROUNDS, COLOURS, OBJECTS, SHAPES
from evalkit.words import split_words

NOUNS = (*(thing.name for thing in OBJECTS), *SHAPES)
COLOUR_NAMES, BACKGROUND_NAMES = tuple(COLOURS), tuple(BACKGROUNDS)
CONTEXT = 24  # pieces of text
HELD_OUT = 1_000_000_000  # scenes with seeds from here on are never trained on
REFERENCE = 2_000_000_000  # scenes of the reference statistics
MOST_SCENES = 10_000_000  # of one training


def first_scene(seed: int) -> int:
    """Where the scenes of a training begin: those of no two seeds are the same, and none is among those that are never trained on."""
    return MOST_SCENES * (seed if seed < HELD_OUT // MOST_SCENES else seed + 300)


def scenes(first_seed: int, count: int) -> list[Scene]:
    return [compose(seed) for seed in range(first_seed, first_seed + count)]


def pictures(some: list[Scene], size: int = 32) -> Tensor:
    """uint8 [N, 3, size, size]."""
    stacked = np.empty((len(some), size, size, 3), np.uint8)
    for place, scene in enumerate(some):
        stacked[place] = render(scene, size)
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()


class Examples(Protocol):
    """Pictures with captions, by row number: the bundled world's or a user's."""

    size: int  # pixels per side

    def __len__(self) -> int: ...
    def pictures(self, rows: Sequence[int]) -> Tensor: ...  # uint8 [N, 3, size, size]
    def caption(self, row: int, random: Random) -> str: ...
    def lots(self, often: str) -> Tensor: ...  # int64: the rows of an epoch; a row may be in it more than once
    def captions(self) -> Iterable[str]: ...  # all of all rows, for learning the pieces of words
    def prompts(self) -> list[str]: ...  # one for each row, always the same: what generators are asked when they are looked at


class World:
    """Scenes of the bundled world with consecutive seeds. Pictures are composed when they are first asked for, and kept: by this process
    and those forked from it together."""

    def __init__(self, first_seed: int, count: int, size: int = 32) -> None:
        self.size, self.scenes = size, scenes(first_seed, count)
        self._kept, self._known = _shared(count, 3, size, size), _shared(count).view(torch.bool)

    def __len__(self) -> int:
        return len(self.scenes)

    def pictures(self, rows: Sequence[int]) -> Tensor:
        missing = [row for row in rows if not self._known[row]]
        if missing:
            self._kept[missing] = pictures([self.scenes[row] for row in missing], self.size)
            self._known[missing] = True
        return self._kept[list(rows)]

    def caption(self, row: int, random: Random) -> str:
        """One in many sentences; in 30% of the cases with words in it that the vocabulary does not know, as real prompts have them."""
        return noisy_caption(self.scenes[row], random)

    def lots(self, often: str) -> Tensor:
        """int64: every row, and twice those of one kind of scene: pairs are the hardest, and 20% of the world. Raises EvalkitError for
        a kind that there is not."""
        if often not in ("", *get_args(Kind)):
            kinds = ", ".join(get_args(Kind))
            raise EvalkitError(f"There are no scenes of the kind {often!r} to draw twice as often.", f"Expected {kinds}, or nothing.")
        return torch.tensor([row for row, scene in enumerate(self.scenes) for _ in range(2 if scene.kind == often else 1)])

    def captions(self) -> Iterable[str]:
        return (caption(scene, place) for place, scene in enumerate(self.scenes))

    def prompts(self) -> list[str]:
        return prompts_of(self.scenes)


def _shared(*shape: int) -> Tensor:
    """Zeros, uint8, in memory that forked processes share; none is taken before it is written to."""
    return torch.frombuffer(mmap.mmap(-1, prod(shape)), dtype=torch.uint8).view(shape)


def word_tokenizer() -> SubwordTokenizer:
    """Every word of the world is one piece, and there are no others: what mini-clip reads."""
    return SubwordTokenizer(words(), CONTEXT)


def subword_tokenizer() -> SubwordTokenizer:
    """The words of the world and their endings: what dalle reads."""
    return SubwordTokenizer(pieces(), CONTEXT)


LEARNED, LONG_CONTEXT = 2000, 48  # pieces, for the captions of users


def learned_pieces(examples: Examples) -> SubwordTokenizer:
    """What a CLIP is to read: the words of the world, or pieces learned from a user's captions."""
    if isinstance(examples, World):
        return word_tokenizer()
    return SubwordTokenizer(learn_pieces((split_words(text) for text in examples.captions()), LEARNED), LONG_CONTEXT)


def pieces_for(examples: Examples, clip: Path) -> SubwordTokenizer:
    """What a dalle is to read: the subword pieces of the world, or those that the CLIP has learned from the same captions."""
    if isinstance(examples, World):
        return subword_tokenizer()
    config = load_clip(clip)[1]
    return SubwordTokenizer(config["words"], config["context"])


def read(texts: Sequence[str], tokenizer: SubwordTokenizer) -> Tensor:
    """int64 [N, context]."""
    return tokenizer.encode([split_words(text) for text in texts])


def up_to_the_longest(texts: Tensor) -> Tensor:
    """Without the columns that are padding in all rows."""
    return texts[:, : int((texts != PADDING).sum(1).max())]


def read_for_training(examples: Examples, rows: Sequence[int], randoms: Sequence[Random], tokenizer: SubwordTokenizer) -> Tensor:
    """Captions as a generator is trained on them, int64 [N, T], as long as the longest: 10% are left out, for classifier-free
    guidance, and one word in twenty is taken apart into its pieces, so that endings are learned (subword regularisation)."""
    numbers: list[list[int]] = []
    for row, random in zip(rows, randoms, strict=True):
        read = read_apart(examples.caption(row, random), random, tokenizer)
        numbers.append([] if random.random() < 0.1 else read)
    return up_to_the_longest(tokenizer.pad(numbers))


def read_apart(text: str, random: Random, tokenizer: SubwordTokenizer) -> list[int]:
    """The pieces of a text of which one word in twenty is taken apart."""
    split = split_words(text)
    return tokenizer.numbers(split, {place for place in range(len(split)) if random.random() < 0.05})


def noisy_caption(scene: Scene, random: Random) -> str:
    """A caption; in 30% of the cases with words in it that the vocabulary does not know, as real prompts have them."""
    return noisy(caption(scene, random.getrandbits(48)), random)


def noisy(text: str, random: Random) -> str:
    """A text; in 30% of the cases with one to six words in it that the vocabulary does not know."""
    split = text.split()
    if random.random() < 0.3:
        for _ in range(random.randint(1, 6)):
            split.insert(random.randrange(len(split) + 1), UNREAD)
    return " ".join(split)


def prompts_of(some: list[Scene]) -> list[str]:
    """One complete caption of each scene, each in words of its own: what the generators are asked when they are judged."""
    return [caption(scene, HELD_OUT + place, complete=True) for place, scene in enumerate(some)]


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
    return Targets(nouns, colours, torch.tensor([BACKGROUND_NAMES.index(scene.background) for scene in some]), whole)
