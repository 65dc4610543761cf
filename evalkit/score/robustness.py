"""What small changes of the prompts cost: variants minus originals, paired by prompt and sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from evalkit.core import Metric, Prompt, RobustnessRow
from evalkit.score.compare import Entrant, possible
from evalkit.seeds import MARK, original_id
from evalkit.statistics import intervals, paired
from evalkit.statistics.multiple import holm


def robustness(
    entrants: Sequence[Entrant], metrics: Sequence[Metric], prompts: Sequence[Prompt]
) -> list[RobustnessRow]:
    """A row for each model, metric with one value per image, and kind of variants; [] without any.

    The p-values of all rows are corrected together (Holm). prompts: all of the run.
    """
    place = {prompt.id: index for index, prompt in enumerate(prompts)}
    kinds: dict[str, dict[int, int]] = {}  # by kind: the index of a variant to its original's
    for index, prompt in enumerate(prompts):
        original = original_id(prompt.id)
        if original != prompt.id and original in place:
            kinds.setdefault(prompt.id.rpartition(MARK)[2], {})[index] = place[original]
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
    clusters = intervals.cluster_numbers([str(pair[2]) for pair in pairs])
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
