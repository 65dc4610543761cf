"""What the raters of a study say: values, intervals, tests, agreement, and the care they took."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from evalkit.core import ComparisonRow, Verdict
from evalkit.ratings.exclusion import RaterCare, excluded
from evalkit.ratings.polls import Opinions, Poll
from evalkit.ratings.rating import BOTH_BAD, CANNOT_TELL, TIE, YES, Rating, parts
from evalkit.statistics import agreement, bradley_terry, clustered, preferences
from evalkit.statistics.bradley_terry import elo
from evalkit.statistics.clustered import Estimate
from evalkit.statistics.intervals import Interval
from evalkit.statistics.multiple import ALPHA, Corrected, holm, significant
from evalkit.statistics.planning import more_votes

TARGET = 0.05  # the half width of a narrow interval, as a share of the range of the values


@dataclass(frozen=True)
class Value:
    """A value with its 95% interval."""

    value: float | None  # None: not measured, and `method` gives the reason
    low: float | None
    high: float | None
    method: str


@dataclass(frozen=True)
class ModelResult:
    """One value of one model, in the words of metrics.json."""

    model: str
    metric: str  # mean_opinion, yes_rate, win_rate or strength
    result: Value
    all_raters: float | None  # the value with those raters whom the study's rule excludes
    images: int
    votes: int
    more: int | None = None  # answers that a narrow interval needs (see TARGET); None: not known
    more_note: str = ""  # in words, or why it is not known


@dataclass(frozen=True)
class PollSummary:
    """One question of one study, answered by raters of one kind."""

    study: str
    kind: str
    question: str
    mode: str
    text: str  # of the question
    models: tuple[str, ...]
    requested: int  # images of each model in the study
    votes: int
    prompts: int
    raters: tuple[RaterCare, ...]  # also the excluded ones
    excluded: Mapping[str, str]  # rater -> reason
    cannot_tell: int
    ties: int
    both_bad: int
    alpha: Value  # Krippendorff's, between raters
    opposed: tuple[str, ...]  # pairs of raters who disagree more than by chance
    left: Value | None  # share of decided votes for the left image; None for single images
    results: tuple[ModelResult, ...]
    matrix: tuple[tuple[float | None, ...], ...]  # win rate of the row against the column
    comparisons: tuple[ComparisonRow, ...]
    remarks: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.question}"


def from_json(entry: Mapping[str, Any]) -> PollSummary:
    """A summary from its `asdict` as JSON. Raises KeyError or TypeError for anything else."""

    def value(found: Mapping[str, Any] | None) -> Value | None:
        return None if found is None else Value(**found)

    results = [ModelResult(**{**one, "result": Value(**one["result"])}) for one in entry["results"]]
    made = {
        "models": tuple(entry["models"]),
        "raters": tuple(RaterCare(**one) for one in entry["raters"]),
        "alpha": Value(**entry["alpha"]),
        "opposed": tuple(entry["opposed"]),
        "left": value(entry["left"]),
        "results": tuple(results),
        "matrix": tuple(map(tuple, entry["matrix"])),
        "comparisons": tuple(ComparisonRow(**one) for one in entry["comparisons"]),
        "remarks": tuple(entry["remarks"]),
    }
    return PollSummary(**{**entry, **made})


def summarize(poll: Poll) -> PollSummary:
    """The summary of a poll, without the raters whom the rule of its study excludes."""
    out = dict(excluded(poll.study.exclude, poll.care))
    kept, pairwise = poll.kept, poll.study.mode == "pairwise"
    told = _of_pairs(kept) if pairwise else _of_images(kept)
    results = told.results
    if out:
        everyone = _of_pairs(poll) if pairwise else _of_images(poll)
        before = {(one.model, one.metric): one.result.value for one in everyone.results}
        results = [replace(one, all_raters=before[one.model, one.metric]) for one in results]
    alpha, opposed = _agreement(kept)
    question = next(one for one in poll.study.questions if one.name == poll.question)
    return PollSummary(
        study=poll.study.study,
        kind=poll.kind,
        question=poll.question,
        mode=poll.study.mode,
        text=question.text,
        models=poll.models,
        requested=len(poll.study.prompts),
        votes=len(kept.ratings),
        prompts=len(kept.prompts),
        raters=poll.care,
        excluded=out,
        cannot_tell=kept.count(CANNOT_TELL),
        ties=kept.count(TIE),
        both_bad=kept.count(BOTH_BAD),
        alpha=alpha,
        opposed=opposed,
        left=told.left,
        results=tuple(results),
        matrix=told.matrix,
        comparisons=told.comparisons,
        remarks=told.remarks,
    )


class _Told(NamedTuple):
    results: list[ModelResult]
    comparisons: tuple[ComparisonRow, ...]
    matrix: tuple[tuple[float | None, ...], ...] = ()
    left: Value | None = None
    remarks: tuple[str, ...] = ()


# --- single images ---
def _of_images(poll: Poll) -> _Told:
    found, metric = poll.opinions(), "mean_opinion"
    if poll.study.mode == "checklist":
        metric = "yes_rate"
    results = []
    for place, model in enumerate(poll.models):
        own = found.models == place
        made = clustered.mean(found.values[own], found.prompts[own], found.raters[own])
        size = len(np.unique(found.prompts[own])), int(own.sum())
        more = more_votes(made, TARGET * _range(poll))
        results.append(
            ModelResult(model, metric, _value(made), None, *size, more.votes, more.reason)
        )
    return _Told(results, _differences(poll, found, metric))


def _range(poll: Poll) -> float:
    """The difference of the highest and the lowest answer."""
    question = next(one for one in poll.study.questions if one.name == poll.question)
    return len(question.anchors) - 1 if poll.study.mode == "scale" else 1


def _differences(poll: Poll, found: Opinions, metric: str) -> tuple[ComparisonRow, ...]:
    def of(place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        own = found.models == place
        return found.values[own], found.prompts[own], found.raters[own]

    pairs = list(combinations(range(len(poll.models)), 2))
    made = [clustered.difference(of(a), of(b)) for a, b in pairs]
    corrected = holm([one.p() for one in made])
    rows = []
    for (a, b), one, after in zip(pairs, made, corrected, strict=True):
        if one.value is None:
            continue
        adjusted = clustered.difference(of(a), of(b), 1 - after.level) if after else None
        rows.append(
            _row(
                poll,
                metric,
                (a, b),
                (float(of(a)[0].mean()), float(of(b)[0].mean())),
                one,
                after,
                adjusted.interval if adjusted else None,
            )
        )
    return tuple(rows)


# --- pairs ---
def _of_pairs(poll: Poll) -> _Told:
    told, count = poll.votes(), len(poll.models)
    rates = preferences.win_rates(told, count)
    fitted = bradley_terry.strengths(told, count, side=poll.sides_known)
    results, remarks = [], []
    for place, model in enumerate(poll.models):
        own = (told.left == place) | (told.right == place)
        size = len(np.unique(told.prompts[own])), int(own.sum())
        rate, more = rates.overall[place], more_votes(rates.overall[place], TARGET)
        found = ModelResult(model, "win_rate", _value(rate), None, *size, more.votes, more.reason)
        results.append(found)
    for place, model in enumerate(poll.models):
        own = (told.left == place) | (told.right == place)
        size = len(np.unique(told.prompts[own])), int(own.sum())
        note = fitted.notes[place]
        strength = _strength(fitted.models[place], note)
        results.append(ModelResult(model, "strength", strength, None, *size))
        if note:
            remarks.append(f"{model}: {note}")
    matrix = tuple(
        tuple(None if a == b else one.value for b, one in enumerate(row))
        for a, row in enumerate(rates.matrix)
    )
    left = _value(preferences.side_bias(told).left_share) if poll.sides_known else None
    return _Told(results, _preferred(poll), matrix, left, tuple(remarks))


def _strength(found: Estimate, note: str | None) -> Value:
    """On the scale of Elo. A strength that the votes do not identify is not a value."""
    if note or found.value is None:
        return Value(None, None, None, f"not measured: {note or found.interval.method}")
    low, high = found.interval.low, found.interval.high
    ends = (None, None) if low is None or high is None else (elo(low), elo(high))
    return Value(elo(found.value), *ends, found.interval.method)


def _preferred(poll: Poll) -> tuple[ComparisonRow, ...]:
    told, count = poll.votes(), len(poll.models)
    rows = []
    for test in preferences.paired_tests(told, count):
        rate = test.win_rate
        if rate.value is None:
            continue
        low, high = rate.interval.low, rate.interval.high
        ends = (None, None) if low is None or high is None else (2 * low - 1, 2 * high - 1)
        made = rate._replace(
            value=2 * rate.value - 1, interval=Interval(ends[0], ends[1], test.method)
        )
        adjusted = None
        if test.corrected:
            level = 1 - test.corrected.level
            found = preferences.win_rate(told, test.first, test.second, level).interval
            if found.low is not None and found.high is not None:
                adjusted = Interval(2 * found.low - 1, 2 * found.high - 1, "")
                if not significant(test.corrected.p):
                    # The permutation test may be stricter than the interval: it decides.
                    adjusted = Interval(min(adjusted.low or 0, 0), max(adjusted.high or 0, 0), "")
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


def _agreement(poll: Poll) -> tuple[Value, tuple[str, ...]]:
    """Alpha of the raters, and the pairs of raters who disagree more than by chance.

    The level is corrected for the number of pairs (Bonferroni): of many raters, some two always
    look opposed.
    """
    told = [rating for rating in poll.ratings if rating.response != CANNOT_TELL]
    items = {item: place for place, item in enumerate(dict.fromkeys(r.item for r in told))}
    raters = {name: place for place, name in enumerate(dict.fromkeys(r.rater for r in told))}
    table = np.full((len(raters), len(items)), np.nan)
    clusters = np.zeros(len(items), np.int64)
    prompts = {name: place for place, name in enumerate(poll.prompts)}
    for rating in told:
        table[raters[rating.rater], items[rating.item]] = _number(poll, rating)
        clusters[items[rating.item]] = prompts[rating.prompt_id]
    if not len(table):
        return Value(None, None, None, "undefined: no answers"), ()
    scale = "ordinal" if poll.study.mode == "scale" else "nominal"
    found = agreement.alpha(table, scale, clusters)
    names = list(raters)
    pairs = max(1, math.comb(len(names), 2))
    opposed = [
        f"{names[pair.first]} and {names[pair.second]}"
        for pair in agreement.pairs_of_raters(table, scale, clusters, 1 - ALPHA / pairs)
        if pair.opposed
    ]
    return Value(
        found.value, found.interval.low, found.interval.high, found.interval.method
    ), tuple(opposed)


def _number(poll: Poll, rating: Rating) -> float:
    """The answer as a number: 0 for the first model of any pair, whichever it is, 1 for the other.

    With a number for each model, answers to different pairs would differ by nature, and the
    agreement by chance would be taken for smaller than it is.
    """
    if poll.study.mode == "pairwise":
        return [*parts(rating.item)[1:], TIE, BOTH_BAD].index(rating.response)
    return (
        float(rating.response == YES) if poll.study.mode == "checklist" else float(rating.response)
    )


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
