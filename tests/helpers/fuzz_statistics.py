"""Functions of evalkit.statistics on any numbers: what they return is in its range, or named."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from evalkit.core import EvalkitError
from evalkit.statistics import agreement, clustered, concordance, intervals, paired, preferences
from evalkit.statistics.bradley_terry import strengths
from evalkit.statistics.intervals import Interval
from evalkit.statistics.multiple import holm
from evalkit.statistics.votes import checked

Columns = tuple[list[float], list[float], list[int], list[int]]
# Beyond, squares of float64 overflow: no metric or rating has such values.
FINITE = st.floats(-1e150, 1e150) | st.sampled_from([0.0, 1.0, 0.5, -1.0, 1e-308, 1e150, 3.0])
ANY = FINITE | st.sampled_from([math.nan, math.inf, -math.inf])


def columns(numbers: st.SearchStrategy[float], least: int) -> st.SearchStrategy[Columns]:
    """Two columns of numbers, prompts and raters; as often as not, the first one is constant."""

    def of(count: int) -> st.SearchStrategy[Columns]:
        def column(one: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
            return st.lists(one, min_size=count, max_size=count)

        first = column(numbers) | numbers.map(lambda value: [value] * count)
        return st.tuples(
            first, column(numbers), column(st.integers(0, 6)), column(st.integers(0, 4))
        )

    return st.integers(least, 14).flatmap(of)


Parts = Iterable[tuple[Any, float, float]]  # a value, and the ends of its range


def interval(found: Interval, low: float = -math.inf, high: float = math.inf) -> Parts:
    assert found.method, "an interval without its method, or the reason why there is none"
    assert (found.low is None) == (found.high is None)
    if found.low is not None and found.high is not None:
        assert found.low <= found.high
        yield from ((found.low, low, high), (found.high, low, high))


def estimate(found: clustered.Estimate, low: float = -math.inf, high: float = math.inf) -> Parts:
    yield found.value, low, high
    yield from interval(found.interval, low, high)


def numbered(columns: Columns) -> np.ndarray:
    """Clusters from 0 without gaps, as the functions state."""
    return np.unique(np.array(columns[2], dtype=int), return_inverse=True)[1]


def bootstrap(columns: Columns) -> Parts:
    yield from interval(
        intervals.clustered_bootstrap(np.array(columns[0]), numbered(columns), draws=50)
    )


def rate(columns: Columns) -> Parts:
    hits = (np.array(columns[0]) > 0).astype(float)
    yield from interval(intervals.rate(hits, numbered(columns)), 0, 1)


def wilson(columns: Columns) -> Parts:
    count = float(len(columns[0]))
    successes = float(sum(value > 0 for value in columns[0]))
    yield from interval(intervals.wilson(successes, count), 0, 1)


def jackknife(columns: Columns) -> Parts:
    groups = torch.from_numpy(numbered(columns))
    left_out = torch.tensor(columns[0], dtype=torch.float64)[: len(groups.unique())]
    yield from interval(intervals.group_jackknife(columns[1][0], left_out, groups))


def paired_means(columns: Columns) -> Parts:
    first, second, *_ = map(np.array, columns)
    found = paired.paired_means(first, second, numbered(columns), draws=50)
    yield from ((found.value, -math.inf, math.inf), (found.p, 0, 1))


def mean(columns: Columns) -> Parts:
    values, _, prompts, raters = columns
    ends = (min(values), max(values)) if values else (0, 0)
    found = clustered.mean(values, prompts, raters)
    slack = 1e-9 * max(map(abs, ends))
    yield found.value, ends[0] - slack, ends[1] + slack
    yield from interval(found.interval)


def difference(columns: Columns) -> Parts:
    one, other, prompts, raters = columns
    yield from estimate(clustered.difference((one, prompts, raters), (other, prompts, raters)))


def variances(columns: Columns) -> Parts:
    values, _, prompts, raters = columns
    yield from ((part, -math.inf, math.inf) for part in
                clustered.variances(values, prompts, raters) or ())  # fmt: skip


def alpha(columns: Columns) -> Parts:
    table = np.array(columns[:2])
    for scale in ("nominal", "ordinal", "interval"):
        found = agreement.alpha(table, scale)
        yield found.value, -math.inf, 1 + 1e-9
        yield from interval(found.interval)


def of_images(columns: Columns) -> Parts:
    found = concordance.of_images(*columns[:3])
    for value, low in ((found.accuracy, 0), (found.kendall, -1), (found.spearman, -1)):
        yield value.value, low, 1
        yield from interval(value.interval, low, 1)


def of_models(columns: Columns) -> Parts:
    found = concordance.of_models(*columns[:2])
    for value, low in ((found.accuracy, 0), (found.kendall, -1), (found.spearman, -1)):
        yield value.value, low - 1e-9, 1 + 1e-9


def corrected(columns: Columns) -> Parts:
    values = [value if 0 <= value <= 1 else None for value in columns[0]]
    for found in holm(values):
        if found is not None:
            yield from ((found.p, 0, 1), (found.level, 0, 1))


def votes(columns: Columns) -> Parts:
    """Win rates, tests, side bias and strengths of the same votes."""
    first, second, prompts, raters = columns
    answers = [(1, 0, -1, 2, 3)[int(value) % 5 if math.isfinite(value) else 4] for value in first]
    left = [place % 3 for place in prompts]
    right = [(a + 1 + (value > 0)) % 3 for a, value in zip(left, second, strict=True)]
    made = checked(left, right, answers, prompts, raters)
    rates = preferences.win_rates(made, 3)
    for found in (*rates.overall, *(one for row in rates.matrix for one in row)):
        yield from estimate(found, 0, 1)
    for test in preferences.paired_tests(made, 3):
        yield test.p, 0, 1
    bias = preferences.side_bias(made)
    yield from ((bias.p, 0, 1), *estimate(bias.left_share, 0, 1))
    for found in strengths(made, 3).models:
        yield from estimate(found)


# Those that check their numbers take any, and none at all; the others state what they take.
CHECKED = (wilson, mean, difference, variances, of_images, of_models, corrected, votes)
CHECKS: dict[str, tuple[Callable[[Columns], Parts], st.SearchStrategy[Columns]]] = {
    **{function.__name__: (function, columns(ANY, 0)) for function in CHECKED},
    **{
        function.__name__: (function, columns(FINITE, 1))
        for function in (bootstrap, rate, jackknife, paired_means, alpha)
    },
}


def check(function: Callable[[Columns], Parts], given: Columns) -> None:
    """Whether every value is finite and in its range, or an error of evalkit says what is wrong."""
    try:
        parts = list(function(given))
    except (EvalkitError, ValueError) as error:
        if "statistics" not in _last_file(error):  # one of numpy is an accident
            raise
        return
    for value, low, high in parts:
        assert value is None or (math.isfinite(value) and low <= value <= high), (value, low, high)


def _last_file(error: BaseException) -> str:
    """The file that raised: a sentence of evalkit is meant, one of numpy is an accident."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename if trace is not None else ""
