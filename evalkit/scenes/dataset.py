"""The bundled data set: scenes with consecutive seeds, composed on the fly, with their captions."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from math import prod
from random import Random
from typing import Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.scenes.captions import caption
from evalkit.scenes.compose import Kind, Scene, compose, render
from evalkit.scenes.vocabulary import UNREAD
from evalkit.scenes.world import BACKGROUNDS, COLOURS, OBJECTS, SHAPES

NOUNS = (*(thing.name for thing in OBJECTS), *SHAPES)
COLOUR_NAMES, BACKGROUND_NAMES = tuple(COLOURS), tuple(BACKGROUNDS)
HELD_OUT = 1_000_000_000  # scenes with seeds from here on are never trained on
REFERENCE = 2_000_000_000  # scenes of the reference statistics
MOST_SCENES = 10_000_000  # of one training


def first_scene(seed: int) -> int:
    """Where the scenes of a training begin: those of no two seeds are the same, and none is among
    those that are never trained on.
    """
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
    def images(self, rows: Sequence[int]) -> Tensor: ...  # uint8 [N, 3, size, size]
    def caption(self, row: int, random: Random) -> str: ...
    def epoch_rows(self, oversample: str) -> Tensor: ...  # int64; a row may occur more than once
    def captions(self) -> Iterable[str]: ...  # all of all rows, for learning the pieces of words
    def prompts(
        self,
    ) -> list[
        str
    ]: ...  # one for each row, always the same: what generators are asked when they are looked at


class SceneDataset:
    """Scenes of the bundled world with consecutive seeds. Pictures are composed when they are first
    asked for, and kept: by this process and those forked from it together.
    """

    def __init__(self, first_seed: int, count: int, size: int = 32) -> None:
        self.size, self.scenes = size, scenes(first_seed, count)
        self._kept, self._known = _shared(count, 3, size, size), _shared(count).view(torch.bool)

    def __len__(self) -> int:
        return len(self.scenes)

    def images(self, rows: Sequence[int]) -> Tensor:
        missing = [row for row in rows if not self._known[row]]
        if missing:
            self._kept[missing] = pictures([self.scenes[row] for row in missing], self.size)
            self._known[missing] = True
        return self._kept[list(rows)]

    def caption(self, row: int, random: Random) -> str:
        """One in many sentences; in 30% of the cases with words in it that the vocabulary does not
        know, as real prompts have them.
        """
        return noisy_caption(self.scenes[row], random)

    def epoch_rows(self, oversample: str) -> Tensor:
        """int64: every row once, and those of one kind of scene twice; "" for none.

        Pairs are the hardest kind, and 20% of the scenes. Raises EvalkitError for an unknown kind.
        """
        if oversample not in ("", *get_args(Kind)):
            raise EvalkitError(
                f"There is no kind of scene {oversample!r} to oversample.",
                f"Expected {', '.join(get_args(Kind))}, or nothing.",
            )
        twice = torch.tensor([scene.kind == oversample for scene in self.scenes])
        return torch.arange(len(self)).repeat_interleave(1 + twice.long())

    def captions(self) -> Iterable[str]:
        return (caption(scene, place) for place, scene in enumerate(self.scenes))

    def prompts(self) -> list[str]:
        return prompts_of(self.scenes)


def _shared(*shape: int) -> Tensor:
    """Zeros, uint8, in memory that forked processes share; none is taken before it is written to."""
    return torch.frombuffer(mmap.mmap(-1, prod(shape)), dtype=torch.uint8).view(shape)


def noisy_caption(scene: Scene, random: Random) -> str:
    """A caption; in 30% of the cases with words in it that the vocabulary does not know, as real
    prompts have them.
    """
    return noisy(caption(scene, random.getrandbits(48)), random)


def noisy(text: str, random: Random) -> str:
    """A text; in 30% of the cases with one to six words in it that the vocabulary does not know."""
    split = text.split()
    if random.random() < 0.3:
        for _ in range(random.randint(1, 6)):
            split.insert(random.randrange(len(split) + 1), UNREAD)
    return " ".join(split)


def prompts_of(some: list[Scene]) -> list[str]:
    """One complete caption of each scene, each in words of its own: what the generators are asked
    when they are judged.
    """
    return [caption(scene, HELD_OUT + place, complete=True) for place, scene in enumerate(some)]
