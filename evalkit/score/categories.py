"""Rows by category of question: GenEval 2's skills, the categories of DSG, DPG-Bench and TIFA.

A scorer that asks several questions about an image may state what each of them is about
(`Answer.parts`). The value of a category is the mean over all its questions, as these benchmarks
report it: a prompt with three questions about colours counts three times. Intervals and paired
differences resample prompts, not questions. Such a row has the group `questions: CATEGORY`, which
cannot be taken for a group of prompts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from evalkit.core import Metric, MetricRow
from evalkit.features.answers import unanswered
from evalkit.features.image_sets import ImageSet
from evalkit.hints import plural
from evalkit.score.compare import Entrant, Pair, pairs
from evalkit.score.evidence import Setup
from evalkit.score.measure import measure_or_warn
from evalkit.score.rows import metric_row
from evalkit.scorer import QUESTIONS

MOST_CATEGORIES = 24  # those with the most questions; more would not be readable


class ByCategory(NamedTuple):
    """What is known about the categories of questions."""

    rows: list[MetricRow]
    pairs: list[Pair]
    prompts: dict[str, int]  # by group of a row: the prompts with such questions
    left_out: list[str]  # groups that are not measured

    def note(self) -> str:
        """What is left out, in words."""
        some = ", ".join(self.left_out[:5]) + ", …" * (len(self.left_out) > 5)
        return (
            f"{plural(len(self.left_out), 'category', 'categories')} of questions not measured"
            f" (only the {MOST_CATEGORIES} with the most questions are): {some}"
        )


def measure_categories(
    sets: Sequence[ImageSet], entrants: Sequence[Entrant], setup: Setup, tested: Sequence[Metric]
) -> ByCategory:
    """The rows of every category and model, and the compared pairs of models.

    Args:
        sets, entrants: the models on their images of the original prompts, in the same order.
        tested: the metrics on which models may be compared.
    """
    found = ByCategory([], [], {}, [])
    for metric in setup.metrics:
        parts = [_parts(metric, entrant) for entrant in entrants]
        sizes = Counter[str]()
        for of_model in parts:
            for of_image in of_model:
                sizes.update({category: len(values) for category, values in of_image.items()})
        largest = {category for category, _ in sizes.most_common(MOST_CATEGORIES)}
        found.left_out.extend(QUESTIONS + one for one in sizes if one not in largest)
        for category in (one for one in sizes if one in largest):
            _measure(metric, category, sets, entrants, parts, setup, found)
            if metric not in tested:
                continue
            able = [
                _of_questions(metric, category, entrant, of_model)
                for entrant, of_model in zip(entrants, parts, strict=True)
                if any(category in of_image for of_image in of_model)
            ]
            found.pairs.extend(pairs(able, [metric], QUESTIONS + category))
    return found


Parts = Sequence[Mapping[str, Sequence[float]]]  # by image and category: the values of questions


def _parts(metric: Metric, entrant: Entrant) -> Parts:
    """What the answers on a model's images state for this number; {} for an image without it."""
    evidence = entrant.evidence.get(metric.encoder)
    if metric.scorer is None or evidence is None:
        return []
    return [of_image.get(metric.feature, {}) for of_image in evidence.parts]


def _measure(
    metric: Metric,
    category: str,
    sets: Sequence[ImageSet],
    entrants: Sequence[Entrant],
    parts: Sequence[Parts],
    setup: Setup,
    found: ByCategory,
) -> None:
    """Add the row of every model with images, and the number of prompts."""
    group = QUESTIONS + category
    asked = {
        record.index
        for images, of_model in zip(sets, parts, strict=True)
        for record, of_image in zip(images.records, of_model, strict=False)
        if category in of_image
    }
    found.prompts[group] = max(len(asked), found.prompts.get(group, 0))
    for images, entrant, of_model in zip(sets, entrants, parts, strict=True):
        if not of_model:  # no images, or no answers at all: the row on all prompts says why
            continue
        places = [at for at, record in enumerate(images.records) if record.index in asked]
        reasons = entrant.evidence[metric.encoder].reasons
        some = [reasons[at] for at in places] if reasons else []
        of_questions = _of_questions(metric, category, entrant, of_model)
        measured = measure_or_warn(metric, of_questions.evidence[metric.encoder])
        if measured.value is not None:
            note = f"mean over {plural(len(of_questions.images), 'question')}"
            measured = replace(measured, note="; ".join(filter(None, [measured.note, note])))
        measured = replace(
            measured, unanswered=sum(map(bool, some)), why_unanswered=unanswered(some)
        )
        found.rows.append(metric_row(metric, images.of_prompts(asked), measured, setup, group))


def _of_questions(metric: Metric, category: str, entrant: Entrant, parts: Parts) -> Entrant:
    """The model with a value per question in place of one per image; clusters stay prompts."""
    evidence = entrant.evidence[metric.encoder]
    values: list[float] = []
    places: list[int] = []
    images: list[tuple[int, ...]] = []
    for place, of_image in enumerate(parts):
        for number, value in enumerate(of_image.get(category, ())):
            values.append(value)
            places.append(place)
            images.append((*entrant.images[place], number))
    clusters = np.unique(evidence.clusters[places], return_inverse=True)[1]
    own = replace(
        evidence,
        fake={metric.feature: torch.tensor(values, dtype=torch.float64)[:, None]},
        clusters=clusters.astype(np.int64),
        reasons=(),
        parts=(),
        no_fake="" if values else f"no answer to a question about {category}",
        draws=None,
    )
    return Entrant(entrant.model, {metric.encoder: own}, images)
