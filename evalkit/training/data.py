"""Training data of the bundled world: pictures, captions and dense targets, composed on the fly from seeds."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from evalkit.models.mini_inception import GRID
from evalkit.models.text import WordTokenizer
from evalkit.scenes.captions import caption
from evalkit.scenes.compose import CANVAS, Scene, compose, render
from evalkit.scenes.vocabulary import words
from evalkit.scenes.world import BACKGROUNDS, COLOURS, OBJECTS, SHAPES
from evalkit.words import split_words

NOUNS = (*(thing.name for thing in OBJECTS), *SHAPES)
COLOUR_NAMES, BACKGROUND_NAMES = tuple(COLOURS), tuple(BACKGROUNDS)
CONTEXT = 24  # words
HELD_OUT = 1_000_000_000  # scenes with seeds from here on are never trained on
REFERENCE = 2_000_000_000  # scenes of the reference statistics


def scenes(first_seed: int, count: int) -> list[Scene]:
    return [compose(seed) for seed in range(first_seed, first_seed + count)]


def pictures(some: list[Scene], size: int = 32) -> Tensor:
    """uint8 [N, 3, size, size]."""
    stacked = np.empty((len(some), size, size, 3), np.uint8)
    for place, scene in enumerate(some):
        stacked[place] = render(scene, size)
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()


def tokenizer() -> WordTokenizer:
    return WordTokenizer(words(), CONTEXT)


def read(texts: list[str], tokenizer: WordTokenizer) -> Tensor:
    """int64 [N, CONTEXT]."""
    return tokenizer.encode([split_words(text) for text in texts])


def noisy_caption(scene: Scene, random: Random) -> str:
    """A caption; in 30% of the cases with words in it that the vocabulary does not know, as real prompts have them."""
    text = caption(scene, random.getrandbits(48)).split()
    if random.random() < 0.3:
        for _ in range(random.randint(1, 6)):
            text.insert(random.randrange(len(text) + 1), "unknownword")
    return " ".join(text)


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
