"""How well a metric agrees with people: on images of the same prompt, and on models.

Both sides are given as differences that are positive where the first image (or model) is better.
Ties: a pair that people do not decide takes no part in the accuracy; a pair on which the metric is
equal counts one half. Both take part in the rank correlations, as ties (tau-b, Kendall 1945).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from evalkit.statistics.intervals import (
    LEAST_GROUPS,
    Interval,
    group_jackknife,
    groups_of_clusters,
    rate,
    rate_p,
)

_LEAST_MODELS = 3
_LEAST_PAIRS = 10  # that neither side ties: with fewer, a rank correlation has no useful interval


class Value(NamedTuple):
    """A share or correlation."""

    value: float | None  # None: not measured, and `interval.method` gives the reason
    interval: Interval


class Concordance(NamedTuple):
    """Agreement of a metric with people on pairs."""

    accuracy: Value  # share of the decided pairs on which the metric agrees; chance is 0.5
    kendall: Value  # tau-b
    spearman: Value
    decided: int  # pairs that people decide
    undecided: int  # pairs that they do not
    metric_ties: int  # decided pairs on which the metric is equal
    p: float | None = None  # of "the accuracy is chance"; None without an interval of the accuracy


def of_images(
    metric: ArrayLike, human: ArrayLike, prompts: ArrayLike, level: float = 0.95
) -> Concordance:
    """Agreement on pairs of images of one prompt, with intervals over prompts.

    metric [K]: the metric of the first image minus that of the second, positive where the first is
    better. human [K]: the same for people, such as the share of votes for the first minus one half.
    prompts int [K]. Exchanging first and second in any pair changes nothing: the correlations are
    those of all pairs and their mirror images.
    """
    one, other = _pairs(metric, human)
    _, cluster = np.unique(np.asarray(prompts), return_inverse=True)
    if cluster.shape != one.shape:
        raise ValueError("metric, human and prompts must be three arrays [K]")
    decided = other != 0
    hits = _hits(one, other)[decided]
    few = len(np.unique(cluster)) < LEAST_GROUPS
    accuracy, p = _none("not measured: people decide no pair"), None
    if len(hits):
        _, of_hits = np.unique(cluster[decided], return_inverse=True)
        interval, p = rate(hits, of_hits, level), rate_p(hits, of_hits, 0.5)
        if few or int(of_hits.max()) + 1 < LEAST_GROUPS:
            interval = Interval(None, None, f"no interval: fewer than {LEAST_GROUPS} prompts")
            p = None
        accuracy = Value(float(hits.mean()), interval)
    kendall, spearman = (
        _over_prompts(correlation, one, other, cluster, level) for correlation in (_tau, _rho)
    )
    ties = int((one[decided] == 0).sum())
    untied = len(hits) - ties
    if untied < _LEAST_PAIRS:
        kendall, spearman = (_without_interval(found, untied) for found in (kendall, spearman))
    return Concordance(accuracy, kendall, spearman, len(hits), int((~decided).sum()), ties, p)


def of_models(metric: ArrayLike, human: ArrayLike) -> Concordance:
    """Agreement on models: metric [M] and strengths or mean opinions [M], both larger is better.

    No intervals: a few models are no sample of models.
    """
    one, other = _pairs(metric, human)
    number = len(one)
    reason = Interval(None, None, f"no interval: {number} models are no sample of models")
    pairs = list(combinations(range(number), 2))
    first, second = (np.array([pair[place] for pair in pairs], dtype=int) for place in (0, 1))
    ours, theirs = one[first] - one[second], other[first] - other[second]
    decided = theirs != 0
    hits = _hits(ours, theirs)[decided]
    accuracy = (
        Value(float(hits.mean()), reason)
        if len(hits)
        else _none("not measured: people decide no pair of models")
    )

    def correlation(of: Callable[..., float]) -> Value:
        if number < _LEAST_MODELS:
            return _none(f"not measured: fewer than {_LEAST_MODELS} models")
        if np.ptp(one) == 0 or np.ptp(other) == 0:
            return _none("not measured: all models are equal")
        return Value(of(one, other), reason)

    ties = int((ours[decided] == 0).sum())
    undecided = int((~decided).sum())
    return Concordance(accuracy, correlation(_tau), correlation(_rho), len(hits), undecided, ties)


def _over_prompts(
    correlation: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
    metric: NDArray[np.float64],
    human: NDArray[np.float64],
    cluster: NDArray[np.int64],
    level: float,
) -> Value:
    """A correlation of pairs and their mirror images, with a jackknife over groups of prompts."""

    def mirrored(kept: NDArray[np.bool_]) -> float | None:
        one, other = metric[kept], human[kept]
        if not one.any() or not other.any():
            return None
        return correlation(np.concatenate([one, -one]), np.concatenate([other, -other]))

    value = mirrored(np.ones(len(metric), dtype=bool))
    if value is None:
        side = "the metric is equal on all pairs" if human.any() else "people decide no pair"
        return _none(f"not measured: {side}")
    groups = groups_of_clusters(cluster)
    if groups is None:
        reason = f"no interval: fewer than {LEAST_GROUPS} prompts"
        return Value(value, Interval(None, None, reason))
    group = groups.numpy()
    without = [mirrored(group != one) for one in range(int(group.max()) + 1)]
    if any(one is None for one in without):
        reason = "no interval: not measured without one of the groups of prompts"
        return Value(value, Interval(None, None, reason))
    low, high, method = group_jackknife(
        value, torch.tensor(without, dtype=torch.float64), groups, level
    )
    if low is None or high is None:
        return Value(value, Interval(None, None, method))
    return Value(value, Interval(max(-1.0, low), min(1.0, high), method))


def _pairs(metric: ArrayLike, human: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, other = (np.asarray(side, dtype=np.float64) for side in (metric, human))
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError("metric and human must be two arrays of equal length")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ValueError("values must be finite; leave out pairs that are not measured")
    return one, other


def _hits(metric: NDArray[np.float64], human: NDArray[np.float64]) -> NDArray[np.float64]:
    return (0.5 + 0.5 * np.sign(metric) * np.sign(human)).astype(np.float64)


def _tau(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.asarray(stats.kendalltau(one, other))[0])


def _rho(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.asarray(stats.spearmanr(one, other))[0])


def _without_interval(found: Value, untied: int) -> Value:
    if found.value is None:
        return found
    reason = f"no interval: only {untied} pair{'s are' if untied != 1 else ' is'} not tied"
    return Value(found.value, Interval(None, None, reason))


def _none(reason: str) -> Value:
    return Value(None, Interval(None, None, reason))
