"""One metric on the images of one model, as rows of metrics.json and scores.csv."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.core import EncoderKind, EvalkitError, FailedMetricWarning, Metric, MetricRow
from evalkit.encoders.select import Choice
from evalkit.features.image_sets import ImageSet
from evalkit.plugin_calls import plugin_call
from evalkit.reference.files import Reference
from evalkit.score.evidence import NO_PROMPTS, Evidence, Setup
from evalkit.score.measure import Measurement, NotMeasured, call, measure_or_warn

FEW_REAL = 100  # images; a smaller reference says more about which images it has than about models


def measure_images(
    metric: Metric, images: ImageSet, evidence: Mapping[EncoderKind, Evidence], choice: Choice
) -> Measurement:
    """The metric on these images, or the reason why there is no value."""
    if images.texts is None and metric.reads_prompts:  # first: weights would not help
        return Measurement(None, note=f"not measured: {NO_PROMPTS}")
    if metric.encoder not in choice.encoders:
        return Measurement(None, note=f"not measured: {choice.missing[metric.encoder]}")
    if not images.files:
        return Measurement(None, note="not measured: there are no images")
    return measure_or_warn(metric, evidence[metric.encoder])


def metric_row(
    metric: Metric, images: ImageSet, found: Measurement, setup: Setup, group: str = ""
) -> MetricRow:
    """One row of metrics.json; for a group of prompts without the finite-sample baseline."""
    encoder = setup.encoders.get(metric.encoder)
    if found.sample is not None:  # the row is about these images only
        images = images.keep(found.sample.tolist())
    count = len(images.files)
    reference = setup.references.get(metric.encoder) if metric.compares else None
    notes, cautions, baseline = [found.note] if found.note else [], [], None
    if found.caution:
        cautions.append(found.caution)
    if found.value is not None and found.why_unanswered:
        cautions.append(f"{images.model}: {found.why_unanswered}")
    if found.value is not None and reference and 0 < reference.count < FEW_REAL:
        cautions.append(
            f"the reference has only {reference.count} images, and other images may give a very"
            " different value"
        )
    if found.value is not None and reference and metric.baseline is not None and not group:
        try:
            baseline, said = _baseline(metric, reference, count)
        except EvalkitError as error:
            warnings.warn(FailedMetricWarning(error.message, error.hint), stacklevel=2)
            said = error.message
        (notes if baseline is not None else cautions).append(said)
    if found.value is not None and images.texts and metric.reads_prompts:
        cut, long = getattr(encoder, "truncated", None), 0
        if encoder is not None and cut is not None:
            try:
                with plugin_call(encoder, f"{encoder.name!r} failed in truncated"):
                    long = int(cut([metric.prefix + text for text in images.texts]))
            except EvalkitError as error:
                cautions.append(error.message.removesuffix("."))
        if long:
            prompts = "prompt exceeds" if long == 1 else "prompts exceed"
            were = "was" if long == 1 else "were"
            cautions.append(f"{long} {prompts} the encoder's context and {were} truncated")
    return MetricRow(
        images.model,
        metric.name,
        encoder.name if encoder else "",
        reference.name if reference else "",
        found.value,
        *found.interval[:2],
        count if found.sample is not None else count - found.unanswered,
        images.requested,
        metric.better,
        found.interval.method,
        "; ".join(notes),
        baseline=baseline,
        caution="; ".join(cautions),
        group=group,
    )


def _baseline(metric: Metric, reference: Reference, count: int) -> tuple[float | None, str]:
    """The metric's finite-sample baseline at this count, and a sentence about it."""
    unknown = "the small-sample bias is unknown: the reference has no features of real images"
    feature = metric.feature
    if metric.baseline is None or not {feature} <= reference.features.keys():
        return None, unknown
    given = {
        "real": reference.features[feature],
        "real_moments": reference.moments[feature],
        "count": count,
    }
    try:
        value = call(metric, "baseline", given)
    except NotMeasured as error:
        return None, str(error)
    if not (value is None or (isinstance(value, float) and math.isfinite(value))):
        raise EvalkitError(
            f"The metric {metric.name!r} returned {value!r:.80} from baseline; expected a finite"
            " float or None.",
            "Correct the metric's function.",
            code="score-19",
        )
    if value is None:
        return None, unknown
    return value, f"finite-sample baseline {value:.4g} (of {count} real images)"


def score_rows(
    metric: Metric, images: ImageSet, found: Measurement, setup: Setup
) -> Iterator[tuple[Any, ...]]:
    """The rows of scores.csv behind a row of metrics.json."""
    if found.per_image is not None:
        encoder = setup.encoders[metric.encoder].name
        for record, value in zip(images.records, found.per_image, strict=True):
            yield images.model, record.index, record.sample, metric.name, encoder, _written(value)


def _written(value: float) -> str:
    """The digits of a value; "" where there is no answer."""
    return "" if math.isnan(value) else repr(float(value))
