"""What the answers to a question say about models: values with intervals, and tests."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

from evalkit.core import ComparisonRow, Verdict
from evalkit.ratings.polls import Floats, Ints, Opinions, Poll
from evalkit.ratings.summary_file import TARGET, ModelResult, Value
from evalkit.statistics import bradley_terry, clustered, preferences
from evalkit.statistics.bradley_terry import elo
from evalkit.statistics.clustered import Estimate
from evalkit.statistics.intervals import Interval
from evalkit.statistics.multiple import Corrected, holm, significant
from evalkit.statistics.planning import more_votes
from evalkit.statistics.votes import Votes


class Results(NamedTuple):
    """The values of all models; the last three fields are about pairs."""

    models: list[ModelResult]
    comparisons: tuple[ComparisonRow, ...]
    matrix: tuple[tuple[float | None, ...], ...] = ()  # win rate of the row against the column
    left: Value | None = None  # share of decided votes for the left image
    remarks: tuple[str, ...] = ()  # why a model has no strength


def results_of(poll: Poll) -> Results:
    """The values and tests of a poll, with all its raters."""
    return _of_pairs(poll) if poll.study.mode == "pairwise" else _of_images(poll)


# --- single images ---
def _of_images(poll: Poll) -> Results:
    found = poll.opinions()
    metric = "yes_rate" if poll.study.mode == "checklist" else "mean_opinion"
    results = []
    for place, model in enumerate(poll.models):
        values, prompts, raters = _of_model(found, place)
        made = clustered.mean(values, prompts, raters)
        size = len(np.unique(prompts)), len(values)
        more = more_votes(made, TARGET * _range(poll))
        results.append(
            ModelResult(model, metric, _within(poll, made), None, *size, more.votes, more.reason)
        )
    return Results(results, _differences(poll, found, metric))


def _ends(poll: Poll) -> tuple[float, float]:
    """The lowest and the highest answer."""
    anchors = poll.study.question(poll.question).anchors
    return (1, len(anchors)) if poll.study.mode == "scale" else (0, 1)


def _range(poll: Poll) -> float:
    low, high = _ends(poll)
    return high - low


def _within(poll: Poll, found: Estimate) -> Value:
    """The mean with its interval; no mean of answers lies outside of them."""
    lowest, highest = _ends(poll)
    low, high, method = found.interval
    if low is None or high is None:
        return _value(found)
    return Value(found.value, max(lowest, low), min(highest, high), method)


def _of_model(found: Opinions, place: int) -> tuple[Floats, Ints, Ints]:
    """The values about one model, with prompts and raters."""
    own = found.models == place
    return found.values[own], found.prompts[own], found.raters[own]


def _differences(poll: Poll, found: Opinions, metric: str) -> tuple[ComparisonRow, ...]:
    own = [_of_model(found, place) for place in range(len(poll.models))]
    pairs = list(combinations(range(len(poll.models)), 2))
    made = [clustered.difference(own[a], own[b]) for a, b in pairs]
    corrected = holm([one.p() for one in made])
    rows = []
    for (a, b), one, after in zip(pairs, made, corrected, strict=True):
        if one.value is None:
            continue
        adjusted = clustered.difference(own[a], own[b], 1 - after.level) if after else None
        rows.append(
            _row(
                poll,
                metric,
                (a, b),
                (float(own[a][0].mean()), float(own[b][0].mean())),
                one,
                after,
                adjusted.interval if adjusted else None,
            )
        )
    return tuple(rows)


# --- pairs ---
def _of_pairs(poll: Poll) -> Results:
    told, count = poll.votes(), len(poll.models)
    rates = preferences.win_rates(told, count)
    fitted = bradley_terry.strengths(told, count, side=poll.sides_known)
    wins, strengths, remarks = [], [], []
    for place, model in enumerate(poll.models):
        own = (told.left == place) | (told.right == place)
        size = len(np.unique(told.prompts[own])), int(own.sum())
        rate, more = rates.overall[place], more_votes(rates.overall[place], TARGET)
        wins.append(
            ModelResult(model, "win_rate", _value(rate), None, *size, more.votes, more.reason)
        )
        note = fitted.notes[place]
        strength = _strength(fitted.models[place], note)
        strengths.append(ModelResult(model, "strength", strength, None, *size))
        if note:
            remarks.append(f"{model}: {note}")
    matrix = tuple(
        tuple(None if a == b else one.value for b, one in enumerate(row))
        for a, row in enumerate(rates.matrix)
    )
    left = None
    if poll.sides_known and fitted.side.value is not None:
        left = _value(preferences.side_bias(told).left_share)
    elif poll.sides_known and fitted.counts.decided:
        # The share of left answers would be that of the better model, not of a side.
        remarks.append(f"preference for a side {fitted.side.interval.method}")
    return Results([*wins, *strengths], _preferred(poll, told), matrix, left, tuple(remarks))


def _strength(found: Estimate, note: str | None) -> Value:
    """On the scale of Elo. A strength that the votes do not identify is not a value."""
    if note or found.value is None:
        return Value(None, None, None, f"not measured: {note or found.interval.method}")
    low, high = found.interval.low, found.interval.high
    ends = (None, None) if low is None or high is None else (elo(low), elo(high))
    return Value(elo(found.value), *ends, found.interval.method)


def _preferred(poll: Poll, told: Votes) -> tuple[ComparisonRow, ...]:
    """The tests of pairs of models; a difference of win rates is twice the distance from 0.5."""
    rows = []
    for test in preferences.paired_tests(told, len(poll.models)):
        rate = test.win_rate
        if rate.value is None:
            continue
        made = rate._replace(
            value=2 * rate.value - 1, interval=_of_difference(rate.interval, test.method)
        )
        adjusted = None
        if test.corrected:
            level = 1 - test.corrected.level
            wide = preferences.win_rate(told, test.first, test.second, level).interval
            adjusted = low, high, _ = _of_difference(wide, wide.method)
            if low is not None and high is not None and not significant(test.corrected.p):
                # The permutation test may be stricter than the interval: it decides.
                adjusted = Interval(min(low, 0.0), max(high, 0.0), wide.method)
        rows.append(
            _row(
                poll,
                "win_rate",
                (test.first, test.second),
                (rate.value, 1 - rate.value),
                made,
                test.corrected,
                adjusted,
                test.p,
            )
        )
    return tuple(rows)


def _of_difference(share: Interval, method: str) -> Interval:
    """The interval of a win rate as that of its difference from the other model's."""
    if share.low is None or share.high is None:
        return Interval(None, None, method)
    return Interval(2 * share.low - 1, 2 * share.high - 1, method)


def _value(found: Estimate) -> Value:
    return Value(found.value, *found.interval)


def _row(
    poll: Poll,
    metric: str,
    pair: tuple[int, int],
    values: tuple[float, float],
    made: Estimate,
    corrected: Corrected | None,
    adjusted: Interval | None,
    p: float | None = None,
) -> ComparisonRow:
    p = made.p() if p is None else p
    verdict: Verdict = "not tested"
    if corrected is not None:
        verdict = "no significant difference"
        if significant(corrected.p) and made.value:
            verdict = "a better" if made.value > 0 else "b better"
    return ComparisonRow(
        metric=metric,
        encoder=poll.name,
        reference=poll.study.study,
        better="higher",
        model_a=poll.models[pair[0]],
        model_b=poll.models[pair[1]],
        value_a=values[0],
        value_b=values[1],
        difference=made.value or 0.0,
        low=made.interval.low,
        high=made.interval.high,
        p=p,
        low_adjusted=adjusted.low if adjusted else None,
        high_adjusted=adjusted.high if adjusted else None,
        p_adjusted=corrected.p if corrected else None,
        verdict=verdict,
        prompts=made.prompts,
        images=made.ratings,
        additional_prompts=None,
        method=made.interval.method,
    )
