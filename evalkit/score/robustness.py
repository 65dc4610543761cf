"""What small changes of the prompts cost: variants minus originals, paired by prompt and sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from evalkit.core import EncoderKind, Metric, Prompt, RobustnessRow
from evalkit.encoders.select import Choice
from evalkit.features.image_sets import ImageSet
from evalkit.prompts.perturb import originals_of
from evalkit.score.compare import Entrant, possible
from evalkit.score.evidence import Evidence, Setup, part
from evalkit.score.rows import measure_images
from evalkit.seeds import kind_of
from evalkit.statistics import intervals, paired
from evalkit.statistics.multiple import holm


def evidence_of(
    some: ImageSet, every: ImageSet, evidence: Mapping[EncoderKind, Evidence]
) -> Mapping[EncoderKind, Evidence]:
    """The part of the evidence on all images of a model that is about some of its prompts."""
    if some is every:
        return evidence
    if not some.records:
        return {}
    made = {(record.index, record.sample) for record in some.records}
    places = [at for at, one in enumerate(every.records) if (one.index, one.sample) in made]
    return {kind: part(one, places) for kind, one in evidence.items()}


def with_variants(
    entrant: Entrant,
    every: ImageSet,
    evidence: Mapping[EncoderKind, Evidence],
    setup: Setup,
    choice: Choice,
) -> Entrant:
    """A model, measured on its original prompts, with the values of the images of variants too.

    evidence: that on all images, `every`. Metrics without values per image stay as they are.
    """
    if not every.variants:
        return entrant
    made = [(record.index, record.sample) for record in every.records]
    variants = every.of_prompts(every.variants)
    of_variants, measured = evidence_of(variants, every, evidence), dict(entrant.measured)
    for metric in setup.metrics:
        known = measured[metric.name]
        if known.per_image is None:
            continue
        values = dict(zip(entrant.images, known.per_image, strict=True))
        found = measure_images(metric, variants, of_variants, choice)
        if found.per_image is not None:
            places = [(record.index, record.sample) for record in variants.records]
            values |= dict(zip(places, found.per_image, strict=True))
        per_image = np.array([values.get(place, np.nan) for place in made])
        measured[metric.name] = replace(known, per_image=per_image, sample=None)
    return Entrant(entrant.model, evidence, made, measured)


def robustness(
    entrants: Sequence[Entrant], metrics: Sequence[Metric], prompts: Sequence[Prompt]
) -> list[RobustnessRow]:
    """A row for each model, metric with one value per image, and kind of variants; [] without any.

    The p-values of all rows are corrected together (Holm). prompts: all of the run.
    """
    kinds: dict[str, dict[int, int]] = {}  # by kind: the index of a variant to its original's
    for index, original in originals_of(prompts).items():
        kinds.setdefault(kind_of(prompts[index].id), {})[index] = original
    found = [
        one
        for metric in metrics
        for entrant in entrants
        for kind, originals in kinds.items()
        if (one := _compared(metric, entrant, kind, originals)) is not None
    ]
    corrected = holm([row.p for row in found])
    return [
        replace(row, p_adjusted=one.p if one else None)
        for row, one in zip(found, corrected, strict=True)
    ]


def _compared(
    metric: Metric, entrant: Entrant, kind: str, originals: Mapping[int, int]
) -> RobustnessRow | None:
    """A row without its corrected p-value; None where there are no pairs."""
    per_image = entrant.measured[metric.name].per_image
    if per_image is None:
        return None
    values = {
        image: float(value)
        for image, value in zip(entrant.images, per_image, strict=True)
        if np.isfinite(value)
    }
    pairs = [
        (value, values[originals[index], sample], originals[index])
        for (index, sample), value in values.items()
        if index in originals and (originals[index], sample) in values
    ]
    if not pairs:
        return None
    changed, unchanged = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    clusters = intervals.cluster_numbers(pair[2] for pair in pairs)
    rates = metric.range == (0.0, 1.0)
    difference = paired.paired_means(changed, unchanged, clusters, rates=rates)
    low, high = possible(metric, *difference.interval())
    return RobustnessRow(
        model=entrant.model,
        metric=metric.name,
        kind=kind,
        encoder=entrant.evidence[metric.encoder].encoder,
        better=metric.better,
        original=float(unchanged.mean()),
        variant=float(changed.mean()),
        difference=difference.value,
        low=low,
        high=high,
        p=difference.p,
        p_adjusted=None,
        prompts=len(set(clusters.tolist())),
        images=len(pairs),
        method=difference.method,
    )
