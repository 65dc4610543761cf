"""Rows on what all models have: the same images, and of a scorer those with an answer for all.

A model does not gain by refusing hard prompts, nor by having answers on easy ones only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from evalkit.core import Metric, MetricRow
from evalkit.encoders.select import Choice
from evalkit.features.image_sets import ImageSet
from evalkit.score.compare import Entrant, answered
from evalkit.score.evidence import Setup, part
from evalkit.score.measure import Measurement
from evalkit.score.rows import measure_images, metric_row

Images = frozenset[tuple[int, ...]]  # (prompt index, sample)


def common_rows(
    sets: Sequence[ImageSet], entrants: Sequence[Entrant], setup: Setup, choice: Choice
) -> list[MetricRow]:
    """The rows of all models for metrics that they have on different images; [] without any.

    sets, entrants: the models, in the same order.
    """
    made = shared(one.images for one in entrants)
    wanted: dict[Images, list[Metric]] = {}
    for metric in setup.metrics:
        own = shared(answered(one, metric) for one in entrants)
        if (places := made if own is None else own) is not None:
            wanted.setdefault(places, []).append(metric)
    rows: list[MetricRow] = []
    for images, entrant in zip(sets, entrants, strict=True):
        found = {
            metric.name: metric_row(metric, kept, measured[metric.name], setup)
            for places, metrics in wanted.items()
            for kept, measured in [_measured(metrics, images, entrant, places, choice)]
            for metric in metrics
        }
        rows += [found[metric.name] for metric in setup.metrics if metric.name in found]
    return [replace(row, on="common") for row in rows]


def shared(made: Iterable[Iterable[tuple[int, ...]]]) -> Images | None:
    """What all models have; None if no model has others.

    A model without any is left out, so that the others can still be compared.
    """
    having = [found for one in made if (found := frozenset(one))]
    if not having:
        return None
    common = frozenset.intersection(*having)
    return common if any(one != common for one in having) else None


def _measured(
    metrics: Sequence[Metric], images: ImageSet, entrant: Entrant, common: Images, choice: Choice
) -> tuple[ImageSet, Mapping[str, Measurement]]:
    """A model's images among the common ones, and the metrics on them."""
    places = [place for place, one in enumerate(entrant.images) if one in common]
    if len(places) == len(entrant.images):
        return images, entrant.measured
    kept = images.keep(places)
    evidence = {kind: part(whole, places) for kind, whole in entrant.evidence.items()}
    return kept, {
        metric.name: entrant.measured[metric.name]
        if entrant.measured[metric.name].failed
        else measure_images(metric, kept, evidence, choice)
        for metric in metrics
    }
