"""Inception score: how sure the classifier is of each image, and how varied its answers are over
all images.

Salimans et al. 2016, https://arxiv.org/abs/1606.03498. Logits without bias, softmax in float64,
images shuffled by RandomState(2020) and cut into 10 contiguous splits, as torch-fidelity. A split
of a few images caps the score at its own size, so with fewer than 100 images a split evalkit takes
fewer splits, and `describe` says how many.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from evalkit.core import Metric
from evalkit.metrics.numeric import at_least, checked

SPLITS = 10
LEAST_PER_SPLIT = 100
SEED = 2020  # as torch-fidelity


def splits_for(count: int) -> int:
    """How many splits so many images are cut into: 10, or fewer where a split would have less than
    100 images.
    """
    return min(SPLITS, max(1, count // LEAST_PER_SPLIT))


def inception_score(
    *, fake: Tensor, splits: int = 0, shuffle: bool = True, seed: int = SEED
) -> Tensor:
    """Inception score of logits float [N, classes], float64 [], from 1 to classes; Salimans et al.
    2016, section 4.

    The mean over splits of exp(mean KL(p(y|x) || p(y))). splits: 0 chooses by the count, see
    `splits_for`. Without the shuffle the score depends on the order of the images (ADM and StyleGAN
    evaluate in the order of generation).
    """
    return inception_score_splits(fake=fake, splits=splits, shuffle=shuffle, seed=seed).mean()


def inception_score_splits(
    *, fake: Tensor, splits: int = 0, shuffle: bool = True, seed: int = SEED
) -> Tensor:
    """The score of every split, float64 [splits]; the usual spread is their standard deviation with
    ddof 0.
    """
    sums, entropies, counts = _split_sums(
        fake, torch.zeros(len(fake), dtype=torch.long), splits, shuffle, seed
    )
    return _scores(sums[0], entropies[0], counts[0])


def inception_score_without(
    *, fake: Tensor, groups: Tensor, splits: int = 0, seed: int = SEED
) -> Tensor:
    """The score with each group of images left out in turn, float64 [G]; groups int [N], 0 .. G -
    1.

    The other images stay in the split where they were: a new shuffle for each group would add its
    own noise.
    """
    sums, entropies, counts = _split_sums(fake, groups, splits, True, seed)
    values = [
        _scores(
            sums.sum(dim=0) - sums[group],
            entropies.sum(dim=0) - entropies[group],
            counts.sum(dim=0) - counts[group],
        )
        for group in range(len(sums))
    ]
    return torch.stack([scores.mean() for scores in values])


def describe(*, fake: int, real: int = 0) -> str:
    """What was done with so many images, for the note of a row."""
    splits = splits_for(fake)
    usual = (
        "" if splits == SPLITS else f"; the usual {SPLITS} need {SPLITS * LEAST_PER_SPLIT} images"
    )
    return (
        f"{splits} split{'s' * (splits > 1)} of about {fake // splits} images, seed {SEED}{usual}"
    )


def _split_sums(
    logits: Tensor, groups: Tensor, splits: int, shuffle: bool, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """By group and split: the sum of p(y|x) [G, S, classes], of sum_y p log p [G, S], and the
    number of images [G, S].
    """
    logits = checked(logits, "generated")
    splits = splits or splits_for(len(logits))
    at_least(len(logits), splits, "generated")
    order = (
        torch.from_numpy(np.random.RandomState(seed).permutation(len(logits)))
        if shuffle
        else torch.arange(len(logits))
    )
    probability = logits[order].softmax(dim=1)
    negative_entropy = (probability * logits[order].log_softmax(dim=1)).sum(dim=1)
    edges = torch.tensor([i * len(logits) // splits for i in range(1, splits)], dtype=torch.long)
    split = torch.bucketize(torch.arange(len(logits)), edges, right=True)
    cell = groups[order] * splits + split
    cells = (int(groups.max()) + 1) * splits
    sums = torch.zeros(cells, logits.shape[1], dtype=torch.float64).index_add_(0, cell, probability)
    entropies = torch.zeros(cells, dtype=torch.float64).index_add_(0, cell, negative_entropy)
    counts = torch.bincount(cell, minlength=cells).double()
    return (
        sums.view(-1, splits, logits.shape[1]),
        entropies.view(-1, splits),
        counts.view(-1, splits),
    )


def _scores(sums: Tensor, entropies: Tensor, counts: Tensor) -> Tensor:
    """exp(mean KL) of every split that still has images: mean of sum_y p log p, less sum_y q log q
    of the mean q.
    """
    full = counts > 0
    marginal = sums[full] / counts[full, None]
    return (
        entropies[full] / counts[full] - torch.special.xlogy(marginal, marginal).sum(dim=1)
    ).exp()


INCEPTION_SCORE = Metric(
    "inception_score",
    inception_score,
    "logits",
    "inception",
    "higher",
    "https://arxiv.org/abs/1606.03498",
    title="Inception score",
    meaning="Whether each image shows one clear class and all images together show many classes.",
    range=(1.0, math.inf),
    leave_out=inception_score_without,
    describe=describe,
    depends_on_count=True,
)
