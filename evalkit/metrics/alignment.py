"""Agreement of images with their prompts: CLIP score and retrieval precision."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evalkit.core import EvalkitError, Metric
from evalkit.metrics.direction import unit_length
from evalkit.metrics.numeric import (
    MOST_IN_PAIRS,
    cached_rows,
    rows_per_block,
    same_dimension,
    valid,
)

PREFIX = "A photo depicts "  # put before every prompt by the code of the CLIPScore paper
WEIGHT = 2.5
CANDIDATES = 100
SEED = 0


def clip_score(*, fake: Tensor, text: Tensor) -> Tensor:
    """100 times the cosine of image and prompt features, per image, float64 [N], -100 to 100.

    The common variant of CLIPScore (https://arxiv.org/abs/2104.08718, eq. 1): without a prefix,
    without the factor 2.5, and not clipped at 0. fake float [N, D], text float [N, D] of the same
    prompts in the same order.
    """
    return 100 * _cosines(fake, text)


def clip_score_paper(*, fake: Tensor, text: Tensor) -> Tensor:
    """CLIPScore as in the paper: 2.5 max(cosine, 0), per image, float64 [N], 0 to 2.5.

    Hessel et al. 2021, eq. 1. text: features of "A photo depicts " + prompt (`Metric.prefix`).
    """
    return WEIGHT * _cosines(fake, text).clamp_min(0)


def retrieval_precision(
    *, fake: Tensor, text: Tensor, candidates: int = CANDIDATES, seed: int = SEED
) -> Tensor:
    """CLIP R-precision per image, float64 [N]: 1 if its own prompt ranks first of 100, else 0.

    Park et al. 2021 (https://openreview.net/forum?id=bKBhQhPeKaF), after Xu et al. 2018. The 99
    other prompts are drawn from the distinct prompts of the set, separately for every image, by
    RandomState(seed); with fewer than 100 distinct prompts, all are used. Prompts with equal
    features count as one prompt. A tie is a miss. The mean at chance level is 1 / 100 (or 1 / the
    number of prompts).
    """
    fake, text = _pairs(fake, text)
    fake = unit_length(fake, "generated")
    prompts, own = torch.unique(unit_length(text, "prompt"), dim=0, return_inverse=True)
    others = min(candidates, len(prompts)) - 1
    if others < 1:
        raise EvalkitError(
            "all images have the same prompt; expected at least two distinct prompts",
            code="metrics-1",
        )
    random, hits = np.random.RandomState(seed), []
    step = rows_per_block(len(prompts))
    for rows, correct in zip(fake.split(step), own.split(step), strict=True):
        scores = rows @ prompts.T
        choices = [random.choice(len(prompts) - 1, others, replace=False) for _ in rows]
        drawn = torch.from_numpy(np.stack(choices))
        drawn += drawn >= correct[:, None]  # skips the image's own prompt
        best_other = scores.gather(1, drawn).max(dim=1).values
        hits.append(scores.gather(1, correct[:, None])[:, 0] > best_other)
    return torch.cat(hits).double()


def describe_retrieval(*, fake: int, real: int = 0) -> str:
    """The note of a row."""
    return f"own prompt against {CANDIDATES - 1} others (or all, if there are fewer), seed {SEED}"


def _cosines(fake: Tensor, text: Tensor) -> Tensor:
    """The cosine of each image with its prompt, float64 [N]."""
    fake, text = _pairs(fake, text)
    step = cached_rows(fake.shape[1])  # in blocks: float64 copies of all features are large
    blocks = zip(fake.split(step), text.split(step), strict=True)
    cosine = torch.nn.functional.cosine_similarity
    return torch.cat([cosine(one.double(), other.double(), dim=1) for one, other in blocks])


def _pairs(fake: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """Image and prompt features, float [N, D], checked and of equal number and dimension."""
    fake, text = valid(fake, "generated"), valid(text, "prompt")
    same_dimension(fake.shape[1], text.shape[1])
    if len(fake) != len(text):
        raise ValueError(
            f"{len(fake)} images and {len(text)} prompts; expected one prompt per image"
        )
    return fake, text


CLIP_SCORE = Metric(
    "clip_score", clip_score, "pool", "clip", "higher", "https://arxiv.org/abs/2104.08718",
    title="CLIP score",
    question="Do the images show what their prompts say?",
    meaning="How well each image agrees with its own prompt.",
    range=(-100.0, 100.0),
)  # fmt: skip
CLIP_SCORE_PAPER = Metric(
    "clip_score_paper", clip_score_paper, "pool", "clip-paper", "higher",
    "https://arxiv.org/abs/2104.08718", PREFIX,
    title="CLIP score, paper form",
    question="Do the images show what their prompts say, on the scale of the paper?",
    meaning="CLIP score with the prefix, the factor 2.5 and the cut-off at 0 of the paper.",
    range=(0.0, WEIGHT),
)  # fmt: skip
RETRIEVAL_PRECISION = Metric(
    "retrieval_precision", retrieval_precision, "pool", "clip", "higher",
    "https://openreview.net/forum?id=bKBhQhPeKaF",
    question="Do the images fit their own prompts better than other prompts?",
    meaning="Share of images that fit their own prompt better than 99 others.",
    range=(0.0, 1.0),
    describe=describe_retrieval,
    most=MOST_IN_PAIRS,
)  # fmt: skip
