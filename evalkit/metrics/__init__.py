"""The metric table: one line per metric. Each is a pure function of features with keyword-only parameters.

The required parameters of a metric are its request, from the closed set `fake, real, text, fake_moments, real_moments`.
`LEAVE_OUT` holds quick forms of "the same metric with each group of images left out", from which intervals are made;
a metric without one is simply computed again for every group.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from evalkit.core import Metric
from evalkit.metrics import frechet, inception_score, kernel, manifold
from evalkit.metrics.alignment import clip_score

FID = Metric("fid", frechet.fid, "pool", "inception", "lower", "https://arxiv.org/abs/1706.08500")
KID = Metric("kid", kernel.kid, "pool", "inception", "lower", "https://arxiv.org/abs/1801.01401")
INCEPTION_SCORE = Metric(
    "inception_score", inception_score.inception_score, "logits", "inception", "higher", "https://arxiv.org/abs/1606.03498"
)
PRECISION = Metric("precision", manifold.precision, "pool", "inception", "higher", "https://arxiv.org/abs/1904.06991")
RECALL = Metric("recall", manifold.recall, "pool", "inception", "higher", "https://arxiv.org/abs/1904.06991")
CLIP_SCORE = Metric("clip_score", clip_score, "pool", "clip", "higher", "https://arxiv.org/abs/2104.08718")

METRICS: dict[str, Metric] = {metric.name: metric for metric in (FID, KID, INCEPTION_SCORE, CLIP_SCORE, PRECISION, RECALL)}

LEAVE_OUT: dict[str, Callable[..., Tensor]] = {
    "fid": frechet.fid_without,
    "kid": kernel.kid_without,
    "inception_score": inception_score.inception_score_without,
    "recall": manifold.recall_without,
}
