"""Inception score: the certainty of the classifier per image, and the diversity of its classes.

Salimans et al. 2016, https://arxiv.org/abs/1606.03498. Logits without bias, softmax in float64,
images shuffled by RandomState(2020) and divided into 10 contiguous splits, as in torch-fidelity.
The score of a split is at most its number of images, so evalkit uses fewer splits if a split would
have fewer than 100 images; `describe` states how many.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from evalkit.core import Metric
from evalkit.metrics.numeric import at_least, cached_rows, valid

SPLITS = 10
LEAST_PER_SPLIT = 100
SEED = 2020  # as in torch-fidelity


def splits_for(count: int) -> int:
    """The number of splits: 10, or fewer if a split would have fewer than 100 images."""
    return min(SPLITS, max(1, count // LEAST_PER_SPLIT))


def inception_score(
    *, fake: Tensor, splits: int = 0, shuffle: bool = True, seed: int = SEED
) -> Tensor:
    """Inception score of logits float [N, classes], float64 [], 1 to classes; section 4.

    The mean over splits of exp(mean KL(p(y|x) || p(y))). splits: 0 takes `splits_for(N)`. Without
    the shuffle, the score depends on the order of the images (ADM and StyleGAN evaluate in the
    order of generation).
    """
    return inception_score_splits(fake=fake, splits=splits, shuffle=shuffle, seed=seed).mean()


def inception_score_splits(
    *, fake: Tensor, splits: int = 0, shuffle: bool = True, seed: int = SEED
) -> Tensor:
    """The score of every split, float64 [splits].

    Papers state their standard deviation with ddof 0 as the spread.
    """
    one_group = torch.zeros(len(fake), dtype=torch.long)
    sums, entropies, counts = _split_sums(fake, one_group, splits, shuffle, seed)
    return _scores(sums[0], entropies[0], counts[0])


def inception_score_without(
    *, fake: Tensor, groups: Tensor, splits: int = 0, seed: int = SEED
) -> Tensor:
    """The score without each group of images, float64 [G]; groups int [N], 0 .. G - 1.

    The other images stay in their splits: a new shuffle for each group would add noise.
    """
    parts = _split_sums(fake, groups, splits, True, seed)
    left = [part.sum(dim=0) - part for part in parts]
    return torch.stack([_scores(*group).mean() for group in zip(*left, strict=True)])


def describe(*, fake: int, real: int = 0) -> str:
    """The note of a row."""
    splits = splits_for(fake)
    text = f"{splits} split{'s' * (splits > 1)} of about {fake // splits} images, seed {SEED}"
    if splits < SPLITS:
        text += f"; the usual {SPLITS} need {SPLITS * LEAST_PER_SPLIT} images"
    return text


def _split_sums(
    logits: Tensor, groups: Tensor, splits: int, shuffle: bool, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums by group and split.

    Of p(y|x) [G, S, classes], of sum_y p log p [G, S], and the number of images [G, S].
    """
    logits = valid(logits, "generated")
    splits = splits or splits_for(len(logits))
    at_least(len(logits), splits, "generated")
    order = torch.arange(len(logits))
    if shuffle:
        order = torch.from_numpy(np.random.RandomState(seed).permutation(len(logits)))
    edges = torch.tensor([i * len(logits) // splits for i in range(1, splits)], dtype=torch.long)
    split = torch.empty_like(order)
    split[order] = torch.bucketize(torch.arange(len(logits)), edges, right=True)
    cell, cells = groups * splits + split, (int(groups.max()) + 1) * splits
    sums = torch.zeros(cells, logits.shape[1], dtype=torch.float64)
    entropies = torch.zeros(cells, dtype=torch.float64)
    step = cached_rows(logits.shape[1])  # in blocks: float64 copies of all logits are large
    for block, own in zip(logits.split(step), cell.split(step), strict=True):
        log = block.double().log_softmax(dim=1)
        probability = log.exp()
        sums.index_add_(0, own, probability)
        entropies.index_add_(0, own, (probability * log).sum(dim=1))
    counts = torch.bincount(cell, minlength=cells).double()
    shape = (-1, splits)
    return sums.view(*shape, logits.shape[1]), entropies.view(shape), counts.view(shape)


def _scores(sums: Tensor, entropies: Tensor, counts: Tensor) -> Tensor:
    """exp(mean KL) of every split that has images.

    The mean KL is the mean of sum_y p log p, minus sum_y q log q of the mean q.
    """
    full = counts > 0
    marginal = sums[full] / counts[full, None]
    mean_kl = entropies[full] / counts[full] - torch.special.xlogy(marginal, marginal).sum(dim=1)
    return mean_kl.exp()


INCEPTION_SCORE = Metric(
    "inception_score", inception_score, "logits", "inception", "higher",
    "https://arxiv.org/abs/1606.03498",
    title="Inception score",
    question="Are the images clear, and different from each other?",
    meaning="Whether each image shows one clear class and all images together show many classes.",
    range=(1.0, math.inf),
    leave_out=inception_score_without,
    describe=describe,
    depends_on_count=True,
    aspect="fidelity",
)  # fmt: skip
