"""Means of ratings, with intervals that hold for other prompts *and* other raters.

Ratings of one prompt are alike, and so are ratings by one rater. The variance of a mean therefore
has three parts: those of prompts, of raters, and of single ratings. They are estimated without bias
for any pattern of missing ratings (Henderson 1953; for complete ratings these are the mean squares
of the two-way analysis of variance). The interval is that of Student's t with the
degrees of freedom of Satterthwaite 1946.

Few raters say little about the variance between raters: among three, it is found too small half of
the time. Its mean square is therefore replaced by its upper 60% confidence limit, which with many
raters is the same. Coverage of 95% intervals in `benchmarks/rating_coverage.py`, complete and
incomplete ratings, 3 to 10 raters, 20 to 100 prompts, rater effects from none to as large as
everything else: 92 to 99%, see docs/rating-statistics.md, also for what was rejected.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from evalkit.statistics.intervals import LEAST_GROUPS, Interval

LIMIT = 0.4  # the quantile of chi-square behind the upper 60% limit of the raters' mean square


class Variances(NamedTuple):
    """Variances of one rating: between prompts, between raters, and what remains.

    Unbiased, so one may be slightly negative where the true variance is near zero.
    """

    prompt: float
    rater: float
    residual: float


class Estimate(NamedTuple):
    """A mean, or a difference of means, of ratings."""

    value: float | None  # None: not measured, and `interval.method` gives the reason
    interval: Interval
    error: float | None  # standard error; None where there is no interval
    degrees: float | None  # of freedom of Student's t
    from_raters: float | None  # the part of error**2 that more prompts do not reduce; 0 if raters
    # do not differ significantly (at 10%)
    prompts: int
    raters: int
    ratings: int

    def p(self, null: float = 0.0) -> float | None:
        """Two-sided p-value of the hypothesis that the true value is `null`, not corrected."""
        if self.value is None or self.error is None or self.degrees is None:
            return None
        return 2 * float(stats.t.sf(abs(self.value - null) / self.error, self.degrees))


def mean(values: ArrayLike, prompts: ArrayLike, raters: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean of ratings [N], with an interval.

    prompts, raters: int [N], the prompt and the rater of each rating. Raises ValueError if a value
    is not finite or the lengths differ.
    """
    values, prompts, raters = _checked(values, prompts, raters)
    if not len(values):
        return not_measured("not measured: no ratings")
    value = float(values.mean())
    return estimate(value, (values - value) / len(values), prompts, raters, level)


def difference(
    first: tuple[ArrayLike, ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike, ArrayLike],
    level: float = 0.95,
) -> Estimate:
    """Mean of the first model's ratings minus that of the second's, with an interval.

    Each is (values [N], prompts int [N], raters int [N]), with the same numbers of prompts and
    raters for both models. What a prompt or a rater adds to both models cancels, so no pairs need
    to be formed; ratings of one model only take part as well.
    """
    one, other = _checked(*first), _checked(*second)
    if not len(one[0]) or not len(other[0]):
        return not_measured("not measured: no ratings of one of the models")
    means = float(one[0].mean()), float(other[0].mean())
    influences = np.concatenate(
        [(one[0] - means[0]) / len(one[0]), (means[1] - other[0]) / len(other[0])]
    )
    prompts = np.concatenate([one[1], other[1]])
    raters = np.concatenate([one[2], other[2]])
    return estimate(means[0] - means[1], influences, prompts, raters, level)


def estimate(
    value: float,
    influences: NDArray[np.float64],
    prompts: NDArray[np.int64],
    raters: NDArray[np.int64],
    level: float = 0.95,
) -> Estimate:
    """A value with the interval that follows from the influence of each rating on it.

    influences [N]: the derivative of the value by the weight of each rating, over N; they sum to
    zero. For a mean, (rating - mean) / N; for a maximum-likelihood estimate, the gradient of the
    rating times the inverse of the information.
    """
    cells, row, column = _cells(influences, prompts, raters)
    in_rows, in_columns = np.bincount(row), np.bincount(column)
    counts = len(in_rows), len(in_columns), len(influences)

    def without(reason: str) -> Estimate:
        return Estimate(value, Interval(None, None, reason), None, None, None, *counts)

    if counts[0] < LEAST_GROUPS:
        return without(f"no interval: fewer than {LEAST_GROUPS} prompts")
    number = len(cells)
    if np.abs(cells).max() * number <= 1e-12 * max(1.0, abs(value)):
        return without("no interval: all ratings are equal")
    parts = _parts(cells, row, column)
    residual = number * max(parts.residual, 0.0)
    by_prompt = max(float((in_rows**2).sum()) * parts.prompt + residual, residual / 2)
    degrees = _effective(in_rows) - 1, min(_effective(in_columns) - 1, parts.freedom)
    from_raters = 0.0
    if parts.freedom:
        limit = degrees[1] / float(stats.chi2.ppf(LIMIT, degrees[1]))
        of_one = max(0.0, parts.mean_square * limit - parts.residual) / parts.times
        from_raters = float((in_columns**2).sum()) * of_one
    variance = by_prompt + from_raters
    if not variance > 0:
        return without("no interval: the ratings do not vary between prompts")
    share = by_prompt / variance  # squares of shares: those of large variances overflow
    of_raters = (1 - share) ** 2 / degrees[1] if from_raters else 0.0
    freedom = 1 / (share**2 / degrees[0] + of_raters)  # Satterthwaite
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(variance)
    method = f"{counts[0]} prompts x {counts[1]} raters, variance components, Student t"
    if counts[1] == 1:
        method = f"{counts[0]} prompts, Student t; for this one rater only"
    interval = Interval(value - half, value + half, method)
    chance = parts.residual * float(stats.chi2.ppf(0.9, parts.freedom or 1))
    lasting = from_raters if parts.mean_square * parts.freedom > chance else 0.0
    return Estimate(value, interval, math.sqrt(variance), freedom, lasting, *counts)


def variances(values: ArrayLike, prompts: ArrayLike, raters: ArrayLike) -> Variances | None:
    """The parts of the variance of ratings [N], for planning a study.

    Several ratings of one prompt by one rater (images of several models, or repeats) are averaged.
    None with fewer than two prompts or raters, or if every prompt has one rating or every rater
    gave one.
    """
    values, prompts, raters = _checked(values, prompts, raters)
    sums, row, column = _cells(values, prompts, raters)
    ones = _cells(np.ones(len(values)), prompts, raters)[0]
    prompt_count, rater_count = len(np.unique(row)), len(np.unique(column))
    if min(prompt_count, rater_count) < 2 or len(sums) in (prompt_count, rater_count):
        return None
    parts = _parts(sums / ones, row, column)
    if not parts.freedom:
        return None
    of_raters = (parts.mean_square - parts.residual) / parts.times
    return Variances(parts.prompt, of_raters, parts.residual)


def not_measured(reason: str) -> Estimate:
    """An estimate without a value."""
    return Estimate(None, Interval(None, None, reason), None, None, None, 0, 0, 0)


class _Parts(NamedTuple):
    """Variances of values in a table, and the mean square of raters behind one of them."""

    prompt: float
    residual: float
    mean_square: float  # of raters; expected: residual + times * variance of raters
    times: float
    freedom: int  # of the mean square; 0: raters cannot be separated from single ratings


def _parts(cells: NDArray[np.float64], row: NDArray[np.int64], column: NDArray[np.int64]) -> _Parts:
    """Parts of the variance of values [C] in a table with gaps: C cells at row and column.

    Raters are compared within prompts (method III of Henderson 1953), which needs no estimate of
    the prompts' variance; that follows from the total sum of squares.
    """
    number, in_rows, in_columns = len(cells), np.bincount(row), np.bincount(column)
    rows, columns = len(in_rows), len(in_columns)
    total = float(((cells - cells.mean()) ** 2).sum())
    per_row = number - float((in_rows**2).sum()) / number
    per_column = number - float((in_columns**2).sum()) / number
    row_means = np.bincount(row, cells) / in_rows
    within_rows = float(((cells - row_means[row]) ** 2).sum())
    if columns in (1, number):
        residual = within_rows / (number - rows) if number > rows else 0.0
        return _Parts((total - residual * (number - 1)) / per_row, residual, 0.0, 1.0, 0)
    if rows == number:  # one rating of each prompt: prompts are part of the residual
        column_means = np.bincount(column, cells) / in_columns
        within_columns = float(((cells - column_means[column]) ** 2).sum())
        between, freedom = (total - within_columns) / (columns - 1), columns - 1
        return _Parts(
            0.0, within_columns / (number - columns), between, per_column / freedom, freedom
        )
    present = np.zeros((rows, columns))
    present[row, column] = 1
    information = np.diag(in_columns) - present.T @ (present / in_rows[:, None])
    contrasts = np.bincount(column, cells - row_means[row])
    sizes, directions = np.linalg.eigh(information)  # 0 for each group of connected raters
    known = sizes > 1e-9 * number
    freedom = int(known.sum())
    between = float(((contrasts @ directions[:, known]) ** 2 / sizes[known]).sum())
    if not freedom or number <= rows + freedom:
        residual = within_rows / (number - rows)
        return _Parts((total - residual * (number - 1)) / per_row, residual, 0.0, 1.0, 0)
    residual = (within_rows - between) / (number - rows - freedom)
    times = float(np.trace(information)) / freedom
    of_raters = (between / freedom - residual) / times
    prompt = (total - of_raters * per_column - residual * (number - 1)) / per_row
    return _Parts(prompt, residual, between / freedom, times, freedom)


def _cells(
    values: NDArray[np.float64], prompts: NDArray[np.int64], raters: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Sums by prompt and rater, with the row and the column of each, numbered from 0."""
    row, column = (np.unique(labels, return_inverse=True)[1] for labels in (prompts, raters))
    width = int(column.max()) + 1 if len(column) else 1
    places, cell = np.unique(row * width + column, return_inverse=True)
    sums = np.bincount(cell, values, len(places)).astype(np.float64)
    return sums, (places // width).astype(np.int64), (places % width).astype(np.int64)


def _effective(sizes: NDArray[np.int64]) -> float:
    """The number of clusters of equal size with the same sum of squares."""
    return float(sizes.sum()) ** 2 / float((sizes**2).sum())


def _checked(
    values: ArrayLike, prompts: ArrayLike, raters: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    found = np.asarray(values, dtype=np.float64)
    rows, columns = (np.asarray(labels, dtype=np.int64) for labels in (prompts, raters))
    if not found.shape == rows.shape == columns.shape or found.ndim != 1:
        raise ValueError("values, prompts and raters must be three arrays [N]")
    if not np.isfinite(found).all():
        raise ValueError("ratings must be finite; leave out those that are missing")
    return found, rows, columns
