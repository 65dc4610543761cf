"""The metric table: one line per metric. Each is a pure function of features with keyword-only
parameters.

The required parameters of a metric are its request, from the closed set `fake, real, text,
fake_moments, real_moments`. `LEAVE_OUT` holds quick forms of "the same metric with each group of
images left out", from which intervals are made; a metric without one is simply computed again for
every group. `DESCRIBE` says what was done with so many images. docs/metrics.md tells of each what
it means and which published numbers it may be compared with.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from evalkit.core import Metric
from evalkit.metrics import (
    alignment,
    cmmd,
    coverage,
    diversity,
    frechet,
    inception_score,
    infinity,
    kernel,
    manifold,
    memorization,
    mind,
)

FID = Metric("fid", frechet.fid, "pool", "inception", "lower", "https://arxiv.org/abs/1706.08500")
FID_INFINITY = Metric(
    "fid_infinity",
    infinity.fid_infinity,
    "pool",
    "inception",
    "lower",
    "https://arxiv.org/abs/1911.07023",
)
SFID = Metric(
    "sfid", frechet.fid, "spatial", "inception", "lower", "https://arxiv.org/abs/2103.03841"
)
FD_DINOV2 = Metric(
    "fd_dinov2", frechet.fid, "pool", "dinov2", "lower", "https://arxiv.org/abs/2306.04675"
)
KID = Metric("kid", kernel.kid, "pool", "inception", "lower", "https://arxiv.org/abs/1801.01401")
CMMD = Metric("cmmd", cmmd.cmmd, "pool", "clip-large", "lower", "https://arxiv.org/abs/2401.09603")
MIND = Metric("mind", mind.mind, "pool", "inception", "lower", "https://arxiv.org/abs/2605.06797")
INCEPTION_SCORE = Metric(
    "inception_score",
    inception_score.inception_score,
    "logits",
    "inception",
    "higher",
    "https://arxiv.org/abs/1606.03498",
)
PRECISION = Metric(
    "precision",
    manifold.precision,
    "pool",
    "inception",
    "higher",
    "https://arxiv.org/abs/1904.06991",
)
RECALL = Metric(
    "recall", manifold.recall, "pool", "inception", "higher", "https://arxiv.org/abs/1904.06991"
)
DENSITY = Metric(
    "density", coverage.density, "pool", "inception", "higher", "https://arxiv.org/abs/2002.09797"
)
COVERAGE = Metric(
    "coverage", coverage.coverage, "pool", "inception", "higher", "https://arxiv.org/abs/2002.09797"
)
CLIP_SCORE = Metric(
    "clip_score", alignment.clip_score, "pool", "clip", "higher", "https://arxiv.org/abs/2104.08718"
)
CLIP_SCORE_PAPER = Metric(
    "clip_score_paper",
    alignment.clip_score_paper,
    "pool",
    "clip",
    "higher",
    "https://arxiv.org/abs/2104.08718",
    alignment.PREFIX,
)
RETRIEVAL_PRECISION = Metric(
    "retrieval_precision",
    alignment.retrieval_precision,
    "pool",
    "clip",
    "higher",
    "https://openreview.net/forum?id=bKBhQhPeKaF",
)
VENDI = Metric(
    "vendi", diversity.vendi, "pool", "inception", "higher", "https://arxiv.org/abs/2210.02410"
)
LPIPS_DIVERSITY = Metric(
    "lpips_diversity",
    diversity.lpips_diversity,
    "diversity",
    "lpips",
    "higher",
    "https://arxiv.org/abs/1801.03924",
)
MEMORIZATION = Metric(
    "memorization",
    memorization.memorization,
    "pool",
    "inception",
    "lower",
    "https://arxiv.org/abs/2102.08921",
)
DUPLICATES = Metric("duplicates", memorization.duplicates, "pool", "inception", "lower", "")

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *(
            FID,
            FID_INFINITY,
            SFID,
            FD_DINOV2,
            KID,
            CMMD,
            MIND,
            INCEPTION_SCORE,
            CLIP_SCORE,
            CLIP_SCORE_PAPER,
            RETRIEVAL_PRECISION,
        ),
        *(PRECISION, RECALL, DENSITY, COVERAGE, VENDI, LPIPS_DIVERSITY, MEMORIZATION, DUPLICATES),
    )
}
DEFAULT: tuple[str, ...] = (
    "fid",
    "kid",
    "inception_score",
    "clip_score",
    "precision",
    "recall",
)  # measured where none is named

LEAVE_OUT: dict[str, Callable[..., Tensor]] = {
    "fid": frechet.fid_without,
    "fid_infinity": infinity.fid_infinity_without,
    "sfid": frechet.fid_without,
    "fd_dinov2": frechet.fid_without,
    "kid": kernel.kid_without,
    "cmmd": cmmd.cmmd_without,
    "mind": mind.mind_without,
    "inception_score": inception_score.inception_score_without,
    "recall": manifold.recall_without,
    "coverage": coverage.coverage_without,
    "vendi": diversity.vendi_without,
}


def _neighbours(*, fake: int, real: int) -> str:
    return f"k = {manifold.NEIGHBOURS}, {fake} images against {real} stored reference images"


DESCRIBE: dict[
    str, Callable[..., str]
] = {  # (*, fake: int, real: int) -> str; real: stored reference features, 0 for none
    "fid_infinity": infinity.describe,
    "kid": kernel.describe,
    "cmmd": cmmd.describe,
    "mind": mind.describe,
    "inception_score": inception_score.describe,
    "retrieval_precision": alignment.describe_retrieval,
    "precision": _neighbours,
    "recall": _neighbours,
    "density": coverage.describe_density,
    "coverage": coverage.describe_coverage,
    "vendi": diversity.describe_vendi,
    "memorization": memorization.describe_memorization,
    "duplicates": memorization.describe_duplicates,
}
