"""Which differences between models are statistically significant: every pair on every metric.

Two models are compared under one protocol only (the same encoder and reference), and only on the
images, by prompt and sample, that both made: a prompt that one of them refused counts for neither.
The p-values of all comparisons on all prompts are corrected together, and those by group of prompts
as a family of their own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.core import Better, ComparisonRow, Comparisons, EncoderKind, Metric, Verdict
from evalkit.score.evidence import Evidence, part
from evalkit.score.measure import Measurement, measure_or_warn
from evalkit.statistics import intervals, paired
from evalkit.statistics.multiple import ALPHA, Corrected, holm, significant
from evalkit.statistics.paired import Difference

MOST_FOR_ALL_PAIRS = 8  # models; with more, each is compared with the best of the metric


@dataclass(frozen=True)
class Entrant:
    """One model of the comparison."""

    model: str
    evidence: Mapping[EncoderKind, Evidence]
    # (prompt index, sample) of every row of the evidence; with a third number, of a question
    images: Sequence[tuple[int, ...]]
    measured: Mapping[str, Measurement] = field(default_factory=dict)  # by metric, on all images


class Pair(NamedTuple):
    """Two models on one metric, measured on the images that both made."""

    group: str  # of prompts; "" for all prompts
    metric: Metric
    encoder: str
    reference: str
    model_a: str
    model_b: str
    value_a: float
    value_b: float
    difference: Difference
    prompts: int
    images: int


Known = dict[tuple[Any, ...], Measurement]


def compare(entrants: Sequence[Entrant], metrics: Sequence[Metric]) -> Comparisons:
    """The content of comparisons.json without groups of prompts.

    Args:
        entrants: the models, in the order of the report.
        metrics: those that cannot be measured for both models of a pair give no row.
    """
    return comparisons(pairs(entrants, metrics), len(entrants))


def pairs(entrants: Sequence[Entrant], metrics: Sequence[Metric], group: str = "") -> list[Pair]:
    """Every two models on every metric; group: that of the images, for the rows."""
    known: Known = {}
    found: list[Pair] = []
    for metric in metrics:
        able = [entrant for entrant in entrants if metric.encoder in entrant.evidence]
        for a, b in _pairs(metric, able, known):
            pair = _compared(metric, a, b, known)
            if pair is not None:
                found.append(pair._replace(group=group))
    return found


def comparisons(found: Sequence[Pair], models: int) -> Comparisons:
    """The pairs with their verdicts: those on all prompts, then those by group of prompts."""
    rows: list[ComparisonRow] = []
    sizes: list[int] = []
    for grouped in (False, True):
        family = [pair for pair in found if bool(pair.group) == grouped]
        corrected = holm([pair.difference.p for pair in family])
        rows += [_row(pair, one) for pair, one in zip(family, corrected, strict=True)]
        sizes.append(sum(one is not None for one in corrected))
    size, by_group = sizes
    return Comparisons(_statement(models, size, by_group), 1 - ALPHA, size, tuple(rows), by_group)


def _pairs(metric: Metric, able: Sequence[Entrant], known: Known) -> list[tuple[Entrant, Entrant]]:
    """All pairs of up to 8 models; with more, each against the best."""
    if len(able) <= MOST_FOR_ALL_PAIRS:
        return list(itertools.combinations(able, 2))
    values = [_measured(metric, one, *_of_all(one, able, metric), known).value for one in able]
    measured = [(value, place) for place, value in enumerate(values) if value is not None]
    if not measured:
        return []
    best = able[(min if metric.better == "lower" else max)(measured)[1]]
    return [(best, entrant) for entrant in able if entrant is not best]


def _of_all(
    entrant: Entrant, able: Sequence[Entrant], metric: Metric
) -> tuple[list[tuple[int, ...]], NDArray[np.int64]]:
    """A model's images among those that all have a value on, and their prompts; all without any."""
    having = [found for one in able if (found := set(answered(one, metric)))]
    common = set.intersection(*having) if having else set()
    images = [image for image in entrant.images if image in common] or list(entrant.images)
    return images, _clusters(entrant, metric, images)


def _compared(metric: Metric, a: Entrant, b: Entrant, known: Known) -> Pair | None:
    """The two models on the images that both made; None where they cannot be compared."""
    if _protocol(a.evidence[metric.encoder]) != _protocol(b.evidence[metric.encoder]):
        return None
    theirs = set(answered(b, metric))
    shared = [image for image in answered(a, metric) if image in theirs]
    if not shared:
        return None
    clusters = _clusters(a, metric, shared)
    first, second = (_measured(metric, one, shared, clusters, known) for one in (a, b))
    values = first.value, second.value
    if values[0] is None or values[1] is None:
        return None
    if first.sample is not None:  # that of both: it depends on prompts and samples only
        clusters = intervals.cluster_numbers(clusters[first.sample].tolist())
        shared = [shared[place] for place in first.sample]
        first, second = _sampled(first), _sampled(second)
    difference = _difference(metric, first, second, clusters)
    evidence = a.evidence[metric.encoder]
    return Pair(
        group="",
        metric=metric,
        encoder=evidence.encoder,
        reference=evidence.reference.name if evidence.reference and metric.compares else "",
        model_a=a.model,
        model_b=b.model,
        value_a=values[0],
        value_b=values[1],
        difference=difference,
        prompts=len(np.unique(clusters)),
        images=len({image[:2] for image in shared}),
    )


def answered(entrant: Entrant, metric: Metric) -> list[tuple[int, ...]]:
    """The images that have a value: a scorer may have no answer on some."""
    evidence = entrant.evidence.get(metric.encoder)
    if evidence is None or not evidence.reasons:
        return list(entrant.images)
    both = zip(entrant.images, evidence.reasons, strict=True)
    return [image for image, reason in both if not reason]


def _row(pair: Pair, corrected: Corrected | None) -> ComparisonRow:
    metric, difference = pair.metric, pair.difference
    low, high = possible(metric, *difference.interval())
    adjusted = difference.interval(corrected.level) if corrected else (None, None)
    adjusted = possible(metric, *adjusted)
    more = paired.additional_prompts(difference, pair.prompts, corrected)
    if math.isclose(pair.value_a, pair.value_b, rel_tol=1e-6):
        more = None  # equal but for rounding: no number of prompts would help
    if pair.images == metric.most:
        more = None  # of more images, a sample of this size would be measured
    return ComparisonRow(
        metric=metric.name,
        encoder=pair.encoder,
        reference=pair.reference,
        better=metric.better,
        model_a=pair.model_a,
        model_b=pair.model_b,
        value_a=pair.value_a,
        value_b=pair.value_b,
        difference=difference.value,
        low=low,
        high=high,
        p=difference.p,
        low_adjusted=adjusted[0],
        high_adjusted=adjusted[1],
        p_adjusted=corrected.p if corrected else None,
        verdict=_verdict(metric.better, difference.value, corrected),
        prompts=pair.prompts,
        images=pair.images,
        additional_prompts=more,
        method=difference.method,
        group=pair.group,
    )


def possible(
    metric: Metric, low: float | None, high: float | None
) -> tuple[float | None, float | None]:
    """The interval without differences that two values in the metric's range cannot have."""
    if low is None or high is None:
        return None, None
    widest = metric.range[1] - metric.range[0]
    return max(low, -widest), min(high, widest)


def _protocol(evidence: Evidence) -> tuple[str, str, str]:
    reference = evidence.reference
    if reference is None:
        return evidence.encoder, "", ""
    return evidence.encoder, reference.name, reference.image_hash


def _clusters(
    entrant: Entrant, metric: Metric, shared: Sequence[tuple[int, ...]]
) -> NDArray[np.int64]:
    """The prompt of every shared image as 0 .. C - 1: the same for both models."""
    clusters = entrant.evidence[metric.encoder].clusters
    place = {image: row for row, image in enumerate(entrant.images)}
    return intervals.cluster_numbers(clusters[[place[image] for image in shared]].tolist())


def _measured(
    metric: Metric,
    entrant: Entrant,
    shared: Sequence[tuple[int, ...]],
    clusters: NDArray[np.int64],
    known: Known,
) -> Measurement:
    """The metric on the shared images, whose prompts are `clusters`; measured once."""
    key = (metric.name, entrant.model, tuple(shared))
    if key not in known:
        evidence, every = entrant.evidence[metric.encoder], shared == list(entrant.images)
        if not every:
            place = {image: row for row, image in enumerate(entrant.images)}
            evidence = part(evidence, [place[image] for image in shared])
        same = every and np.array_equal(clusters, evidence.clusters)
        whole = entrant.measured.get(metric.name)
        if whole is not None and (same or whole.failed):
            known[key] = whole
        else:
            known[key] = measure_or_warn(metric, replace(evidence, clusters=clusters))
    return known[key]


def _sampled(found: Measurement) -> Measurement:
    """The measurement as one of the images of its sample."""
    if found.per_image is None:
        return found
    return replace(found, per_image=found.per_image[found.sample])


def _difference(
    metric: Metric, first: Measurement, second: Measurement, clusters: NDArray[np.int64]
) -> Difference:
    """The difference of two values that were measured on the same images."""
    assert first.value is not None
    assert second.value is not None
    if first.per_image is not None and second.per_image is not None:
        rates = metric.range == (0.0, 1.0)
        return paired.paired_means(first.per_image, second.per_image, clusters, rates=rates)
    groups = intervals.groups_of_clusters(clusters)
    if first.left_out is None or second.left_out is None or groups is None:
        missing = first if first.left_out is None else second
        return Difference(first.value - second.value, None, 1, missing.interval.method)
    pairs = first.left_out_pairs, second.left_out_pairs
    left_out = first.left_out, second.left_out
    return paired.paired_sets(first.value, second.value, *left_out, groups, pairs)


def _verdict(better: Better, difference: float, corrected: Corrected | None) -> Verdict:
    if corrected is None:
        return "not tested"
    if not significant(corrected.p) or difference == 0:
        return "no significant difference"
    return "a better" if (difference < 0) == (better == "lower") else "b better"


def _statement(models: int, family: int, by_group: int) -> str:
    pairs = "Every pair of models"
    if models > MOST_FOR_ALL_PAIRS:
        pairs = "Each model and the best model of the metric"
    on = " on all prompts" if by_group else ""
    text = (
        f"{pairs} on every metric, paired by prompt, on the images that both made. The p-values of"
        f" all {family} comparisons{on} are corrected together (Holm): the probability that any"
        f" verdict is a false positive is at most {ALPHA:.0%}."
    )
    if by_group:
        text += (
            " Within each group of prompts, models are compared on metrics with one value per"
            " image, and on each category of a scorer's questions; the p-values of these"
            f" {by_group} comparisons are corrected together, apart from the others and in the same"
            " way."
        )
    return text
