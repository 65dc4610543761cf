"""Which differences between models are real: every pair of models on every metric, on what both of
them drew.

Two models are compared under one protocol only (the same encoder and reference), and only on the
images, prompt and sample, that both made; a prompt that one of them refused counts for neither. The
p-values of the whole table are corrected together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.core import EncoderKind, Metric
from evalkit.score import measure
from evalkit.score.evidence import part
from evalkit.score.measure import Measurement
from evalkit.statistics import intervals
from evalkit.statistics import paired as comparison
from evalkit.statistics.paired import Difference

MOST_FOR_ALL_PAIRS = 8  # models; of more, each is compared with the best of the metric


@dataclass(frozen=True)
class Entrant:
    """One model: what is at hand on it, and which images these are."""

    model: str
    evidence: Mapping[EncoderKind, measure.Evidence]
    images: Sequence[tuple[int, int]]  # (prompt index, sample) of every row of the evidence
    measured: Mapping[str, Measurement] = field(
        default_factory=dict
    )  # by name: metrics that were measured on this very evidence


Known = dict[tuple[Any, ...], Measurement]


def compare(entrants: Sequence[Entrant], table: Sequence[Metric]) -> dict[str, Any]:
    """The content of comparisons.json.

    Args:
        entrants: the models, in the order of the report.
        table: the metrics; those that cannot be measured for both models of a pair give no row.

    Returns:
        `statement` (how the table was made, in words), `level`, `family` (p-values corrected
        together) and `rows`: metric, encoder, reference, better, model_a, model_b, value_a,
        value_b, difference (a less b), low, high, p, p_holm, prompts, images, verdict ("a better",
        "b better", "not told apart"), needed (prompts at which the difference would be told apart,
        or null), method.
    """
    known: Known = {}
    rows: list[dict[str, Any]] = []
    found: list[Difference] = []
    for metric in table:
        able = [entrant for entrant in entrants if metric.encoder in entrant.evidence]
        for a, b in _pairs(metric, able, known):
            one, other = a.evidence[metric.encoder], b.evidence[metric.encoder]
            if _protocol(one) != _protocol(other):
                continue
            theirs = set(b.images)
            shared = [image for image in a.images if image in theirs]
            if not shared:
                continue
            clusters = _clusters(a, metric, shared)
            first, second = (
                _figure(metric, entrant, shared, clusters, known) for entrant in (a, b)
            )
            if first.value is None or second.value is None:
                continue
            difference = _difference(first, second, clusters)
            found.append(difference)
            reference = (
                one.reference.name
                if one.reference and {"real", "real_moments"} & set(measure.requests(metric))
                else ""
            )
            rows.append(
                {
                    "metric": metric.name,
                    "encoder": one.encoder,
                    "reference": reference,
                    "better": metric.better,
                    "model_a": a.model,
                    "model_b": b.model,
                    "value_a": first.value,
                    "value_b": second.value,
                    "difference": difference.value,
                    "low": difference.low,
                    "high": difference.high,
                    "p": difference.p,
                    "prompts": len(np.unique(clusters)),
                    "images": len(shared),
                    "method": difference.method,
                }
            )
    corrected = comparison.holm([difference.p for difference in found])
    for row, difference, p in zip(rows, found, corrected, strict=True):
        row["p_holm"] = p
        row["verdict"] = _verdict(row["better"], difference.value, p)
        equal = math.isclose(
            row["value_a"], row["value_b"], rel_tol=1e-6
        )  # but for rounding: no number of prompts would help
        row["needed"] = None if equal else comparison.needed(difference, row["prompts"], p)
    family = sum(p is not None for p in corrected)
    return {
        "statement": _statement(len(entrants), family),
        "level": 1 - comparison.ALPHA,
        "family": family,
        "rows": rows,
    }


def _pairs(metric: Metric, able: Sequence[Entrant], known: Known) -> list[tuple[Entrant, Entrant]]:
    """All pairs of up to 8 models; of more, each against the best."""
    if len(able) <= MOST_FOR_ALL_PAIRS:
        return list(itertools.combinations(able, 2))
    figures = [
        _figure(
            metric, entrant, list(entrant.images), entrant.evidence[metric.encoder].clusters, known
        )
        for entrant in able
    ]
    measured = [
        (figure.value, place) for place, figure in enumerate(figures) if figure.value is not None
    ]
    if not measured:
        return []
    best = able[(min if metric.better == "lower" else max)(measured)[1]]
    return [(best, entrant) for entrant in able if entrant is not best]


def _protocol(evidence: measure.Evidence) -> tuple[str, str, str]:
    reference = evidence.reference
    return (
        evidence.encoder,
        reference.name if reference else "",
        reference.image_hash if reference else "",
    )


def _cut(entrant: Entrant, metric: Metric, shared: Sequence[tuple[int, int]]) -> measure.Evidence:
    """The evidence on the shared images, in their order."""
    if shared == list(entrant.images):
        return entrant.evidence[metric.encoder]
    place = {image: row for row, image in enumerate(entrant.images)}
    return part(entrant.evidence[metric.encoder], [place[image] for image in shared])


def _clusters(
    entrant: Entrant, metric: Metric, shared: Sequence[tuple[int, int]]
) -> NDArray[np.int64]:
    """The prompt of every shared image as 0 .. C - 1; equal for both models, since the images are."""
    clusters = entrant.evidence[metric.encoder].clusters
    place = {image: row for row, image in enumerate(entrant.images)}
    return intervals.cluster_numbers([str(clusters[place[image]]) for image in shared])


def _figure(
    metric: Metric,
    entrant: Entrant,
    shared: Sequence[tuple[int, int]],
    clusters: NDArray[np.int64],
    known: Known,
) -> Measurement:
    """The metric on the shared images, whose prompts are `clusters`. What was measured on just
    these is taken as it is.
    """
    key = (metric.name, entrant.model, tuple(shared))
    if key not in known:
        evidence = _cut(entrant, metric, shared)
        if (
            metric.name in entrant.measured
            and shared == list(entrant.images)
            and np.array_equal(clusters, evidence.clusters)
        ):
            known[key] = entrant.measured[metric.name]
        else:
            known[key] = measure.measure(metric, replace(evidence, clusters=clusters))
    return known[key]


def _difference(first: Measurement, second: Measurement, clusters: NDArray[np.int64]) -> Difference:
    """Of two figures that were measured on the same images."""
    assert first.value is not None
    assert second.value is not None
    if first.per_image is not None and second.per_image is not None:
        return comparison.paired_means(first.per_image, second.per_image, clusters)
    groups = intervals.groups_of_clusters(clusters)
    if first.left_out is None or second.left_out is None or groups is None:
        missing = first if first.left_out is None else second
        return Difference(first.value - second.value, None, None, None, 1, missing.interval.method)
    return comparison.paired_sets(
        first.value, second.value, first.left_out, second.left_out, groups
    )


def _verdict(better: str, difference: float, p: float | None) -> str:
    if p is None or p > comparison.ALPHA or difference == 0:
        return "not told apart"
    return "a better" if (difference < 0) == (better == "lower") else "b better"


def _statement(models: int, family: int) -> str:
    pairs = (
        "every pair of models"
        if models <= MOST_FOR_ALL_PAIRS
        else "each model with the best of the metric"
    )
    return (
        f"{pairs[0].upper()}{pairs[1:]} on every metric, paired by prompt, on the images that both made. The p-values are corrected "
        f"together for all {family} comparisons of the table (Holm): the chance that any verdict in it is false is at most 5%."
    )
