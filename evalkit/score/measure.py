"""One metric on one model: the value, its interval, and in words how they were computed."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evalkit.core import EvalkitError, FailedMetricWarning, Metric
from evalkit.features.answers import unanswered
from evalkit.hints import a_type
from evalkit.metrics import frechet
from evalkit.plugin_calls import is_own, plugin_call, said
from evalkit.score.evidence import Evidence, part
from evalkit.score.sample import note as sample_note
from evalkit.score.sample import sample
from evalkit.statistics import intervals
from evalkit.statistics.intervals import GROUPS, Interval
from evalkit.terminal import one_line

_LONGEST_HINT = 1000  # characters of what a metric of others advises
_NO_INTERVAL = Interval(None, None, "")


@dataclass(frozen=True)
class Measurement:
    """A metric's value on one set of images."""

    value: float | None  # None: not measured, and `note` gives the reason
    interval: Interval = _NO_INTERVAL
    note: str = ""
    caution: str = ""  # why the value may mislead
    per_image: NDArray[np.float64] | None = None  # [N]; None for a property of the set
    left_out: Tensor | None = None  # float64 [G], the values without each group of prompts
    left_out_pairs: Tensor | None = None  # float64 [G (G - 1) / 2], without each two groups
    failed: bool = False  # the metric's function or scorer is faulty, and `note` says how
    unanswered: int = 0  # images without an answer of the scorer; `per_image` has NaN for them
    why_unanswered: str = ""  # in words
    # int [n]: the places of the images that were measured, where these are a sample of all;
    # `left_out` is about them, and `per_image` has NaN for the others.
    sample: NDArray[np.int64] | None = None


def measure_or_warn(metric: Metric, evidence: Evidence) -> Measurement:
    """`measure`, where a metric that fails is "not measured", so that no other result is lost.

    Warns:
        FailedMetricWarning: the metric failed.
    """
    try:
        return measure(metric, evidence)
    except EvalkitError as error:
        warnings.warn(FailedMetricWarning(error.message, error.hint), stacklevel=2)
        return Measurement(None, note=f"not measured: {error.message}", failed=True)


def measure(metric: Metric, evidence: Evidence) -> Measurement:
    """The metric's value with its interval, or "not measured" with the reason.

    Images without an answer of a scorer are left out, and counted. Of very many images some
    metrics measure a sample (`Metric.most`).

    Raises:
        EvalkitError: the metric's function fails, or returns something other than float64 [] or
            [N]; this names the metric.
    """
    reasons, count = evidence.reasons, len(evidence.clusters)
    answered = np.flatnonzero([not reason for reason in reasons]) if reasons else np.arange(count)
    said, missing = unanswered(reasons), count - len(answered)
    if missing == count > 0:
        note = f"not measured: {said}"
        return Measurement(None, note=note, unanswered=missing, why_unanswered=said)
    places = answered
    if 0 < metric.most < len(answered) and not evidence.no_fake:
        numbers = evidence.draws
        if numbers is None:
            numbers = np.random.RandomState(0).permutation(count).astype(np.uint64)
        places = answered[sample(numbers[answered], metric.most)]
    whole = len(places) == count
    found = _measure(metric, evidence) if whole else _of_places(metric, evidence, places)
    if len(places) < len(answered):
        more = "" if found.value is None else sample_note(len(places), len(answered))
        found = replace(found, note="; ".join(filter(None, [found.note, more])), sample=places)
    return replace(found, unanswered=missing, why_unanswered=said)


def _of_places(metric: Metric, evidence: Evidence, places: NDArray[np.int64]) -> Measurement:
    """The metric on some of the images; the others have no value."""
    found = _measure(metric, part(evidence, places.tolist()))
    if found.per_image is None:
        return found
    per_image = np.full(len(evidence.clusters), np.nan)
    per_image[places] = found.per_image
    return replace(found, per_image=per_image)


def _measure(metric: Metric, evidence: Evidence) -> Measurement:
    try:
        inputs = _inputs(metric, evidence)
        result = _tensor(metric, "compute", inputs)
    except NotMeasured as error:
        return Measurement(None, note=f"not measured: {error}", failed=evidence.failed)
    if result.ndim > 1 or (result.ndim and result.shape != evidence.clusters.shape):
        raise EvalkitError(
            f"The metric {metric.name!r} returned a tensor of shape {tuple(result.shape)};"
            f" expected [] or [{len(evidence.clusters)}], one value per image.",
            "Correct the metric's function.",
            code="score-12",
        )
    if not bool(torch.isfinite(result).all() and torch.isfinite(result.mean())):
        return Measurement(None, note="not measured: the value is not finite")
    note, caution = _description(metric, evidence), _by_size(metric, "caution", evidence)
    if result.ndim == 0:
        value = metric.in_range(float(result))
        interval, left_out = _set_interval(metric, evidence, inputs, value)
        pairs = None if left_out is None else _left_out_pairs(metric, evidence, inputs)
        return Measurement(value, _clamped(metric, interval), note, caution, None, left_out, pairs)
    values = result.numpy()
    for end in (values.min(), values.max()):
        metric.in_range(float(end))
    beyond = metric.range[0] == 0 and metric.range[1] > 1  # stated: no rate, whatever the values
    rate = bool(((values == 0) | (values == 1)).all()) and not beyond
    interval = (intervals.rate if rate else intervals.clustered_bootstrap)(
        values, evidence.clusters
    )
    value = metric.in_range(float(values.mean()))
    return Measurement(value, _clamped(metric, interval), note, caution, values)


def point(metric: Metric, evidence: Evidence) -> float | None:
    """The metric's value without an interval; None where it is not measured.

    Raises EvalkitError as `measure` does.
    """
    try:
        return float(_tensor(metric, "compute", _inputs(metric, evidence)).mean())
    except NotMeasured:
        return None


class NotMeasured(Exception):
    """The reason why a metric has no value on this evidence."""


def call(
    metric: Metric,
    field: str,
    inputs: Mapping[str, Any],
    convert: Callable[[Any], Any] = lambda result: result,
) -> Any:
    """The converted result of one of the metric's functions.

    Raises NotMeasured if the function reports why there is no value, and EvalkitError with the
    metric's name if it fails, or if the result does while it is converted.
    """
    function = getattr(metric, field)
    if not is_own(function):
        # Code of others may work in place; the features belong to the other metrics too.
        inputs = copy.deepcopy(dict(inputs))
    part = "" if field == "compute" else f" in {field}"
    hint = "Correct the metric's function, or name the other metrics: `--metrics fid,kid --only`."
    with plugin_call(function, f"The metric {metric.name!r} failed{part}", hint):
        try:
            return convert(function(**inputs))
        except EvalkitError as error:  # too few images, a feature vector of zeros, …
            reason = error
    text, hint = said(reason), one_line(str(reason.hint or ""))[:_LONGEST_HINT]
    raise NotMeasured(f"{text.rstrip('.')}. {hint}" if hint else text) from reason


def _tensor(metric: Metric, field: str, inputs: Mapping[str, Any]) -> Tensor:
    """The result of `call` as a new float64 tensor; a number is a tensor of shape []."""
    made = call(metric, field, inputs, _converted)
    if isinstance(made, str):
        raise EvalkitError(
            f"The metric {metric.name!r} returned {made}; expected a tensor of real numbers.",
            "Correct the metric's function.",
            code="score-13",
        )
    return made


def _converted(result: Any) -> Tensor | str:
    """Real numbers as a new float64 tensor, else the result's type in words.

    One truth value is not a number; one per image is a rate.
    """
    made = result
    if isinstance(result, np.ma.MaskedArray):
        made = np.ma.filled(result.astype(np.float64), np.nan)
    if not isinstance(made, Tensor):
        array = np.asarray(made)  # a float has all of its digits, unlike in torch.as_tensor
        if array.dtype.kind not in "biuf":
            return a_type(result)
        made = torch.as_tensor(array.astype(np.float64) if array.dtype.kind != "b" else array)
    if made.is_nested or made.is_complex() or (made.dtype == torch.bool and made.ndim == 0):
        return a_type(result)
    dense = made.detach().to_dense() if made.layout != torch.strided else made.detach()
    return dense.to("cpu", torch.float64, copy=True)


def text(metric: Metric, field: str, inputs: Mapping[str, Any]) -> str:
    """What a metric states about its values by a function of texts; "" for nothing."""
    if getattr(metric, field) is None:
        return ""
    try:
        result = call(metric, field, inputs)
    except NotMeasured as error:
        return str(error)
    if not isinstance(result, str):
        raise EvalkitError(
            f"The metric {metric.name!r} returned {a_type(result)} from {field}; expected a text.",
            "Correct the metric's function.",
            code="score-14",
        )
    return result


def _clamped(metric: Metric, interval: Interval) -> Interval:
    """The interval inside the metric's range: no end where no value is possible."""
    if interval.low is None or interval.high is None:
        return interval
    low, high = metric.range
    return interval._replace(low=max(interval.low, low), high=min(interval.high, high))


def _inputs(metric: Metric, evidence: Evidence) -> dict[str, Any]:
    """What the metric requests. Raises NotMeasured with the reason where it is missing."""
    feature = metric.feature
    if evidence.no_fake:
        raise NotMeasured(evidence.no_fake)
    if feature not in evidence.fake and metric.scorer is not None:
        known = ", ".join(evidence.fake) or "nothing"
        raise EvalkitError(
            f"The answers of {evidence.encoder} have {known}; expected {feature!r}, the output of"
            f" the scorer {metric.scorer.name!r}.",
            "Give the scorer the output that its answers have.",
            code="score-15",
        )
    if feature not in evidence.fake:
        raise NotMeasured(f"the encoder {evidence.encoder} has no {feature!r} features")
    reference, inputs = evidence.reference, {}
    for name in metric.needs:
        if name == "fake":
            inputs[name] = evidence.fake[feature]
        elif name == "fake_moments":
            inputs[name] = frechet.moments(evidence.fake[feature])
        elif name == "text":
            if metric.prefix not in evidence.texts:
                raise NotMeasured(evidence.no_text)
            inputs[name] = evidence.texts[metric.prefix]
        elif reference is None:
            raise NotMeasured(evidence.no_reference)
        else:
            kind = "moments of" if name == "real_moments" else "stored"
            held = reference.moments if name == "real_moments" else reference.features
            if feature not in held:
                raise NotMeasured(
                    f"the reference {reference.name} has no {kind} {feature!r} features"
                )
            inputs[name] = held[feature]
    return inputs


def _left_out(
    metric: Metric, evidence: Evidence, inputs: Mapping[str, Any], groups: Tensor
) -> Tensor:
    """The metric without each group of images, float64 [G]; groups int [N], 0 .. G - 1."""
    if metric.leave_out is not None:
        return _quickly(metric, "leave_out", inputs, groups, int(groups.max()) + 1)
    fake, values = evidence.fake[metric.feature], []
    for group in range(int(groups.max()) + 1):
        kept = groups != group
        given = {
            name: value[kept] if name in ("fake", "text") else value
            for name, value in inputs.items()
        }
        if "fake_moments" in given:
            given["fake_moments"] = frechet.moments(fake[kept])
        values.append(_tensor(metric, "compute", given))
    return torch.stack(values)


def _quickly(
    metric: Metric, field: str, inputs: Mapping[str, Any], groups: Tensor, count: int
) -> Tensor:
    """What the metric's own form of leaving groups out returns, float64 [count]."""
    values = _tensor(metric, field, {**inputs, "groups": groups})
    if values.shape != (count,):
        of = "group" if field == "leave_out" else "two groups"
        raise EvalkitError(
            f"The metric {metric.name!r} returned a tensor of shape {tuple(values.shape)} from"
            f" {field}; expected [{count}], one value per {of}.",
            "Correct the metric's function.",
            code="score-16",
        )
    return values


def _left_out_pairs(metric: Metric, evidence: Evidence, inputs: Mapping[str, Any]) -> Tensor | None:
    """The metric without each two groups of images, for differences; None where it is not known."""
    groups = intervals.groups_of_clusters(evidence.clusters)
    if metric.leave_out_pairs is None or groups is None or int(groups.max()) + 1 < GROUPS:
        return None
    try:
        values = _quickly(metric, "leave_out_pairs", inputs, groups, GROUPS * (GROUPS - 1) // 2)
    except NotMeasured:
        return None
    return values if bool(torch.isfinite(values).all()) else None


def _set_interval(
    metric: Metric, evidence: Evidence, inputs: dict[str, Any], value: float
) -> tuple[Interval, Tensor | None]:
    """The interval of a property of the set, and the values without each group behind it."""
    groups = intervals.groups_of_clusters(evidence.clusters)
    if groups is None:
        fewest = f"no interval: fewer than {intervals.LEAST_GROUPS} prompts"
        return Interval(None, None, fewest), None
    try:
        left_out = _left_out(metric, evidence, inputs, groups)
    except NotMeasured as error:
        return Interval(None, None, f"no interval: {error}"), None
    if not bool(torch.isfinite(left_out).all()):
        reason = "no interval: the value without one of the groups of prompts is not finite"
        return Interval(None, None, reason), None
    interval = intervals.group_jackknife(value, left_out, groups)
    if interval.low is None and metric.range == (0.0, 1.0):
        # A share of 0 or 1 that no group changes is not certain: Wilson's interval instead.
        count = len(np.unique(evidence.clusters))
        method = f"Wilson, {count} prompts ({metric.name} is the same without any group)"
        return intervals.wilson(value * count, count, method=method), left_out
    if interval.low is not None and (how := _by_size(metric, "approximation", evidence)):
        interval = interval._replace(method=f"{interval.method}, {how}")
    return interval, left_out


def _by_size(metric: Metric, field: str, evidence: Evidence) -> str:
    """The text of `approximation` or `caution`, which depends on the size of the features."""
    if getattr(metric, field) is None:
        return ""
    sizes = zip(("fake", "dimension"), evidence.fake[metric.feature].shape, strict=True)
    return text(metric, field, dict(sizes))


def _description(metric: Metric, evidence: Evidence) -> str:
    stored = evidence.reference.features.get(metric.feature) if evidence.reference else None
    real = 0 if stored is None else len(stored)
    return text(metric, "describe", {"fake": len(evidence.clusters), "real": real})
