"""Agreement of raters: Krippendorff's alpha, with an interval, and pair by pair.

Alpha is 1 - observed / expected disagreement (Krippendorff 2011, "Computing Krippendorff's
alpha-reliability"): 1 is perfect agreement, 0 that of ratings given at random, below 0 systematic
disagreement. The tests compare it with the package `krippendorff`. It has no value where no
disagreement could be expected (all ratings are equal) or seen (no unit has two ratings): neither
agreement nor disagreement is shown, so the value is None and the reason is stated.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from evalkit.statistics.intervals import LEAST_GROUPS, Interval, group_jackknife

Scale = Literal["nominal", "ordinal", "interval"]
_NO_UNITS = "undefined: no unit has two ratings"
_ABOVE = "no interval: not below 0"


class Alpha(NamedTuple):
    """Krippendorff's alpha of a table of ratings."""

    value: float | None  # None: undefined, and `interval.method` gives the reason
    interval: Interval
    units: int  # with at least two ratings; others take no part
    raters: int  # with a rating of such a unit


class Pair(NamedTuple):
    """Agreement of two raters on the units that both rated."""

    first: int
    second: int
    units: int
    equal: int  # units with equal ratings
    alpha: Alpha
    shift: float | None  # mean of the second's ratings minus the first's; None for nominal ratings

    @property
    def opposed(self) -> bool:
        """Whether they disagree more than ratings given at random would.

        Alpha and its interval are below 0, or all units are alike, so that there is no interval.
        """
        value, high = self.alpha.value, self.alpha.interval.high
        if value is None or self.units < LEAST_GROUPS:
            return False
        return value < 0 and (high is None or high < 0)


def alpha(
    ratings: ArrayLike,
    scale: Scale,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
) -> Alpha:
    """Krippendorff's alpha of ratings [raters, units], NaN where missing, with an interval.

    clusters: int [units], such as the prompt of each image; by default, each unit is its own. The
    interval is that of a jackknife over clusters. It refers to other units and these raters. (In
    simulations of 20 to 100 units it covers 91 to 97%, the percentile bootstrap 90 to 96%.)
    """
    table = _table(ratings)
    rated = ~np.isnan(table)
    paired = rated.sum(axis=0) >= 2
    units, raters = int(paired.sum()), int(rated[:, paired].any(axis=1).sum())
    if not units:
        return Alpha(None, Interval(None, None, _NO_UNITS), 0, 0)
    table = table[:, paired]
    domain = np.unique(table[~np.isnan(table)])
    if len(domain) == 1:
        reason = "undefined: all ratings are equal"
        return Alpha(None, Interval(None, None, reason), units, raters)
    counts = np.stack([(table == value).sum(axis=0) for value in domain], axis=1)
    domain = _scaled(domain)
    coincidences, totals = _pairs_and_totals(counts)
    value = float(_alphas(coincidences[None], totals[None], domain, scale)[0])
    each = np.arange(table.shape[1]) if clusters is None else np.asarray(clusters)[paired]
    interval = _jackknife(value, counts, domain, scale, each, level)
    return Alpha(value, interval, units, raters)


def pairs_of_raters(
    ratings: ArrayLike,
    scale: Scale,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
) -> list[Pair]:
    """Agreement of each two raters of ratings [raters, units]; the lowest alpha first.

    Only an alpha below 0 has an interval. Pairs without an alpha are last.
    """
    table = _table(ratings)
    domain, codes = np.unique(table[~np.isnan(table)], return_inverse=True)
    places = np.full(table.shape, -1)
    places[~np.isnan(table)] = codes
    domain = _scaled(domain)
    pairs = []
    for first, second in combinations(range(len(table)), 2):
        both = (places[first] >= 0) & (places[second] >= 0)
        found = Alpha(None, Interval(None, None, _NO_UNITS), 0, 0)
        if both.any():
            value = _of_two(places[first, both], places[second, both], domain, scale)
            found = Alpha(value, Interval(None, None, _ABOVE), int(both.sum()), 2)
            if value is None or value < 0:
                found = alpha(table[[first, second]], scale, clusters, level)
        change = table[second, both] - table[first, both]
        shift = float(change.mean()) if len(change) and scale != "nominal" else None
        pairs.append(Pair(first, second, len(change), int((change == 0).sum()), found, shift))
    pairs.sort(key=lambda pair: math.inf if pair.alpha.value is None else pair.alpha.value)
    return pairs


def _of_two(
    first: NDArray[np.int64], second: NDArray[np.int64], domain: NDArray[np.float64], scale: Scale
) -> float | None:
    """Alpha of two raters who both rated all units; ratings are places in the domain."""
    size = len(domain)
    joint = np.bincount(first * size + second, minlength=size * size).reshape(size, size)
    coincidences = (joint + joint.T).astype(np.float64)
    [value] = _alphas(coincidences[None], coincidences.sum(axis=1)[None], domain, scale)
    return None if np.isnan(value) else float(value)


def _table(ratings: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError("ratings must be an array [raters, units]")
    return table


def _scaled(domain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values up to 1, by a power of two: alpha stays the same, and no square overflows."""
    if not len(domain):
        return domain
    return np.ldexp(domain, -int(np.frexp(np.abs(domain).max())[1]))


def _pairs_and_totals(counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Coincidences [values, values] and totals [values], as `_alphas` takes them.

    counts: int [units, values], with at least two ratings of each unit.
    """
    weights = 1 / (counts.sum(axis=1, keepdims=True) - 1)
    return counts.T @ (counts * weights), counts.sum(axis=0)


def _jackknife(
    value: float,
    counts: NDArray[np.int64],
    domain: NDArray[np.float64],
    scale: Scale,
    clusters: NDArray[np.int64],
    level: float,
) -> Interval:
    """Interval of alpha from its values without each cluster; counts int [units, values]."""
    _, cluster = np.unique(clusters, return_inverse=True)
    number = int(cluster.max()) + 1
    if number < LEAST_GROUPS:
        return Interval(None, None, f"no interval: fewer than {LEAST_GROUPS} prompts")
    found = _without_each(counts, domain, scale, cluster)
    if np.isnan(found).any():
        reason = "no interval: undefined without one of the prompts"
        return Interval(None, None, reason)
    low, high, method = group_jackknife(
        value, torch.from_numpy(found), torch.from_numpy(cluster), level
    )
    if low is None or high is None:
        return Interval(None, None, method)
    return Interval(low, min(1.0, high), f"{method}; these raters only")


def _without_each(
    counts: NDArray[np.int64],
    domain: NDArray[np.float64],
    scale: Scale,
    cluster: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Alpha without each of T clusters, float64 [T]; NaN if undefined."""
    members = np.split(np.argsort(cluster, kind="stable"), np.cumsum(np.bincount(cluster))[:-1])
    parts = (_pairs_and_totals(counts[own]) for own in members)
    each, totals = (np.stack(part) for part in zip(*parts, strict=True))
    return _alphas(each.sum(axis=0) - each, totals.sum(axis=0) - totals, domain, scale)


def _alphas(
    coincidences: NDArray[np.float64],
    totals: NDArray[Any],
    domain: NDArray[np.float64],
    scale: Scale,
) -> NDArray[np.float64]:
    """Alpha of T sets of ratings, float64 [T]; NaN if undefined.

    Args:
        coincidences: [T, values, values], the pairs of ratings of one unit, each with the weight
            1 / (ratings of the unit - 1). The diagonal does not matter.
        totals: [T, values], how often each value was given.
    """
    if scale == "nominal":
        distances = 1.0 - np.eye(len(domain))
    else:
        midranks = np.cumsum(totals, axis=1) - totals / 2
        places = midranks if scale == "ordinal" else np.broadcast_to(domain, totals.shape)
        distances = (places[:, :, None] - places[:, None, :]) ** 2
    number = totals.sum(axis=1)
    observed = (coincidences * distances).sum(axis=(1, 2))
    expected = (totals[:, :, None] * totals[:, None, :] * distances).sum(axis=(1, 2))
    defined = expected > 0  # else all ratings are equal
    ratio = np.full(len(number), np.nan)
    ratio[defined] = observed[defined] * (number[defined] - 1) / expected[defined]
    return 1 - ratio
