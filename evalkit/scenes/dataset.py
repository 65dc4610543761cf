"""The bundled data set ("scenes"): scenes with consecutive seeds, their images and captions."""

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
from evalkit.scenes.compose import Scene, SceneKind, compose, render
from evalkit.scenes.tables import BACKGROUNDS, COLOURS, OBJECTS, SHAPES
from evalkit.scenes.vocabulary import UNKNOWN_WORD

NOUNS = (*(thing.name for thing in OBJECTS), *SHAPES)
COLOUR_NAMES, BACKGROUND_NAMES = tuple(COLOURS), tuple(BACKGROUNDS)
HELD_OUT = 1_000_000_000  # no training uses the scenes from this seed on
REFERENCE = 2_000_000_000  # the first seed of the reference statistics
MOST_SCENES = 10_000_000  # the limit of one training


def first_scene(seed: int) -> int:
    """The first scene of a training. Trainings with different seeds share no scene, and none uses a
    held-out one.
    """
    return MOST_SCENES * (seed if seed < HELD_OUT // MOST_SCENES else seed + 300)


def scenes(first_seed: int, count: int) -> list[Scene]:
    return [compose(seed) for seed in range(first_seed, first_seed + count)]


def render_images(some: list[Scene], size: int = 32) -> Tensor:
    """uint8 [N, 3, size, size]."""
    stacked = np.empty((len(some), size, size, 3), np.uint8)
    for place, scene in enumerate(some):
        stacked[place] = render(scene, size)
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()


class Examples(Protocol):
    """Images with captions, by row number: the bundled data set or a user's."""

    size: int  # pixels per side

    def __len__(self) -> int: ...
    def images(self, rows: Sequence[int]) -> Tensor: ...  # uint8 [N, 3, size, size]
    def caption(self, row: int, random: Random) -> str: ...
    def epoch_rows(
        self, oversample: str
    ) -> Tensor: ...  # int64: the rows of an epoch, some more than once
    def captions(self) -> Iterable[str]: ...  # of all rows, to learn the subword pieces from
    def prompts(self) -> list[str]: ...  # one for each row, always the same: for the samples


class SceneDataset:
    """Scenes with consecutive seeds. An image is rendered when it is first needed, then memoized in
    memory that this process shares with those forked from it.
    """

    def __init__(self, first_seed: int, count: int, size: int = 32) -> None:
        self.size, self.scenes = size, scenes(first_seed, count)
        self._kept, self._known = _shared(count, 3, size, size), _shared(count).view(torch.bool)

    def __len__(self) -> int:
        return len(self.scenes)

    def images(self, rows: Sequence[int]) -> Tensor:
        missing = [row for row in rows if not self._known[row]]
        if missing:
            self._kept[missing] = render_images([self.scenes[row] for row in missing], self.size)
            self._known[missing] = True
        return self._kept[list(rows)]

    def caption(self, row: int, random: Random) -> str:
        """See `noisy_caption`."""
        return noisy_caption(self.scenes[row], random)

    def epoch_rows(self, oversample: str) -> Tensor:
        """int64: every row once, and those of one kind of scene twice; "" for none.

        Pairs are the hardest kind, and 20% of the scenes. Raises EvalkitError for an unknown kind.
        """
        if oversample not in ("", *get_args(SceneKind)):
            raise EvalkitError(
                f"There is no kind of scene {oversample!r} to oversample.",
                f"Expected {', '.join(get_args(SceneKind))}, or nothing.",
                code="scenes-1",
            )
        twice = torch.tensor([scene.kind == oversample for scene in self.scenes])
        return torch.arange(len(self)).repeat_interleave(1 + twice.long())

    def captions(self) -> Iterable[str]:
        return (caption(scene, place) for place, scene in enumerate(self.scenes))

    def prompts(self) -> list[str]:
        return prompts_of(self.scenes)


def _shared(*shape: int) -> Tensor:
    """uint8 zeros in memory that forked processes share; pages are allocated on first write."""
    return torch.frombuffer(mmap.mmap(-1, prod(shape)), dtype=torch.uint8).view(shape)


def noisy_caption(scene: Scene, random: Random) -> str:
    """A caption, 30% of them with words that are not in the vocabulary, as real prompts have."""
    return noisy(caption(scene, random.getrandbits(48)), random)


def noisy(text: str, random: Random) -> str:
    """A text, in 30% of the cases with one to six words added that are not in the vocabulary."""
    split = text.split()
    if random.random() < 0.3:
        for _ in range(random.randint(1, 6)):
            split.insert(random.randrange(len(split) + 1), UNKNOWN_WORD)
    return " ".join(split)


def prompts_of(some: list[Scene]) -> list[str]:
    """One complete caption per scene, each worded differently: the prompts of `evalkit judge`."""
    return [caption(scene, HELD_OUT + place, complete=True) for place, scene in enumerate(some)]
