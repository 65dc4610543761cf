"""What the raters of a study say: values, intervals, tests, agreement, and the care they took."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from evalkit.ratings.polls import Poll
from evalkit.ratings.rating import BOTH_BAD, CANNOT_TELL, TIE, YES, Rating, parts
from evalkit.ratings.results import results_of
from evalkit.ratings.summary_file import PollSummary, Value
from evalkit.statistics import agreement
from evalkit.statistics.multiple import ALPHA


def summarize(poll: Poll) -> PollSummary:
    """The summary of a poll, without its excluded raters."""
    out = poll.excluded
    kept = poll.kept
    told, everyone = results_of(kept), results_of(poll).models if out else ()
    before = {(one.model, one.metric): one.result.value for one in everyone}
    results = tuple(
        replace(one, all_raters=before.get((one.model, one.metric))) for one in told.models
    )
    alpha, opposed = _agreement(kept)
    return PollSummary(
        study=poll.study.study,
        kind=poll.kind,
        question=poll.question,
        mode=poll.study.mode,
        text=poll.study.question(poll.question).text,
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
        results=results,
        matrix=told.matrix,
        comparisons=told.comparisons,
        remarks=told.remarks,
    )


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
    return Value(found.value, *found.interval), tuple(opposed)


def _number(poll: Poll, rating: Rating) -> float:
    """The answer as a number: 0 for the first model of any pair, whichever it is, 1 for the other.

    With a number for each model, answers to different pairs would differ by nature, and the
    agreement by chance would be taken for smaller than it is.
    """
    if poll.study.mode == "pairwise":
        return [*parts(rating.item)[1:], TIE, BOTH_BAD].index(rating.response)
    if poll.study.mode == "checklist":
        return float(rating.response == YES)
    return float(rating.response)
