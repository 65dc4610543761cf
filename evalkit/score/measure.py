"""One metric, one model: the value, its interval, and in words what was done. No files here."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evalkit.core import EvalkitError, Metric
from evalkit.metrics import DESCRIBE, LEAVE_OUT, METRICS, frechet, kernel
from evalkit.reference.files import Reference
from evalkit.statistics import intervals
from evalkit.statistics.intervals import Interval

REQUESTS = ("fake", "real", "text", "fake_moments", "real_moments")
_RATES = ("recall", "coverage")  # figures of a set that are shares
_NO_INTERVAL = Interval(None, None, "")


@dataclass(frozen=True)
class Evidence:
    """What is at hand on one model under one encoder. Rows of `fake`, `texts` and `clusters` belong
    together.
    """

    encoder: str
    fake: dict[str, Tensor]  # "pool" and maybe "logits", float32 [N, D]
    clusters: NDArray[np.int64]  # [N], the number of each picture's prompt
    texts: Mapping[str, Tensor]  # by prefix: the features of prefix + prompt, float32 [N, D]
    reference: Reference | None
    no_text: str = "there are no prompts"  # why, where texts is empty
    no_reference: str = "there is no reference"  # why, where reference is None


@dataclass(frozen=True)
class Measurement:
    value: float | None  # None: not measured, and the note says why
    interval: Interval = _NO_INTERVAL
    note: str = ""
    per_image: NDArray[np.float64] | None = None  # [N]; None for a figure of the set
    left_out: Tensor | None = (
        # float64 [G], a figure of the set without each group of prompts; None where it has none
        None
    )


def requests(metric: Metric) -> tuple[str, ...]:
    """The required parameters of a metric, which say what it needs. Raises EvalkitError for one
    outside the closed set.
    """
    parameters = inspect.signature(metric.compute).parameters.values()
    required = tuple(item.name for item in parameters if item.default is item.empty)
    wrong = [name for name in required if name not in REQUESTS]
    if wrong or not {"fake", "fake_moments"} & set(required):
        asked = ", ".join(required) or "nothing"
        hint = f"Its required parameters may be {', '.join(REQUESTS)}, with fake or fake_moments among them."
        raise EvalkitError(f"The metric {metric.name!r} asks for {asked}.", hint)
    return required


def options(metric: Metric) -> dict[str, Any]:
    """The options of a metric with the values that are used, for the protocol."""
    parameters = inspect.signature(metric.compute).parameters.values()
    return {item.name: item.default for item in parameters if item.default is not item.empty}


def measure(metric: Metric, evidence: Evidence) -> Measurement:
    """The metric's value with its interval; "not measured" with the reason where something is
    missing or too small.
    """
    try:
        inputs = _inputs(metric, evidence)
        result = metric.compute(**inputs).detach().cpu().double()
    except EvalkitError as error:
        return Measurement(None, note=f"not measured: {error.message}")
    if not bool(torch.isfinite(result).all()):
        return Measurement(None, note="not measured: the figure is not finite")
    note = _describe(metric, evidence)
    if result.ndim == 0:
        value = float(result)
        interval, left_out = _set_interval(metric, evidence, inputs, value)
        return Measurement(value, interval, note, left_out=left_out)
    if result.shape != evidence.clusters.shape:
        shapes = f"{tuple(result.shape)} for {len(evidence.clusters)} images"
        return Measurement(None, note=f"not measured: the metric returned values of shape {shapes}")
    values = result.numpy()
    hits = bool(((values == 0) | (values == 1)).all())
    interval = (
        intervals.rate(values, evidence.clusters)
        if hits
        else intervals.clustered_bootstrap(values, evidence.clusters)
    )
    return Measurement(float(values.mean()), interval, note, values)


def _inputs(metric: Metric, evidence: Evidence) -> dict[str, Any]:
    """What the metric asks for. Raises EvalkitError with the reason where it is not there."""
    feature = metric.feature
    if feature not in evidence.fake:
        raise EvalkitError(f"the encoder {evidence.encoder} has no {feature!r} features")
    reference, inputs = evidence.reference, {}
    for name in requests(metric):
        if name == "fake":
            inputs[name] = evidence.fake[feature]
        elif name == "fake_moments":
            inputs[name] = frechet.moments(evidence.fake[feature])
        elif name == "text":
            if metric.prefix not in evidence.texts:
                raise EvalkitError(evidence.no_text)
            inputs[name] = evidence.texts[metric.prefix]
        elif reference is None:
            raise EvalkitError(evidence.no_reference)
        elif name == "real_moments":
            if feature not in reference.moments:
                raise EvalkitError(
                    f"the reference {reference.name} holds no moments of {feature!r} features"
                )
            inputs[name] = reference.moments[feature]
        elif feature not in reference.features:
            raise EvalkitError(f"the reference {reference.name} holds no {feature!r} features")
        else:
            inputs[name] = reference.features[feature]
    return inputs


def _left_out(
    metric: Metric, evidence: Evidence, inputs: Mapping[str, Any], groups: Tensor
) -> Tensor:
    """The metric without each group of images, float64 [G]; groups int [N], 0 .. G - 1. By its
    quick form where it has one.
    """
    if METRICS.get(metric.name) is metric and metric.name in LEAVE_OUT:
        return LEAVE_OUT[metric.name](**inputs, groups=groups)
    fake, values = evidence.fake[metric.feature], []
    for group in range(int(groups.max()) + 1):
        kept = {
            name: value[groups != group] if name in ("fake", "text") else value
            for name, value in inputs.items()
        }
        if "fake_moments" in kept:
            kept["fake_moments"] = frechet.moments(fake[groups != group])
        values.append(metric.compute(**kept).double())
    return torch.stack(values)


def _set_interval(
    metric: Metric, evidence: Evidence, inputs: dict[str, Any], value: float
) -> tuple[Interval, Tensor | None]:
    """The interval of a figure of the set, and the values without each group that it was made from."""
    groups = intervals.groups_of_clusters(evidence.clusters)
    if groups is None:
        return Interval(
            None, None, f"no interval: fewer than {intervals.LEAST_GROUPS} prompts"
        ), None
    try:
        left_out = _left_out(metric, evidence, inputs, groups)
        low, high, method = intervals.group_jackknife(value, left_out, groups)
    except EvalkitError as error:
        return Interval(None, None, f"no interval: {error.message}"), None
    if metric.name in _RATES:  # their ends stay in [0, 1], and a figure of 0 or 1 is no certainty
        if low is None or high is None:
            count, why = (
                len(np.unique(evidence.clusters)),
                f"{metric.name} is the same without any group",
            )
            return intervals.wilson(
                value * count, count, method=f"Wilson, {count} prompts ({why})"
            ), left_out
        low, high = max(0.0, low), min(1.0, high)
    if low is not None and (how := _how_without(metric, evidence)):
        method += f", {how}"
    return Interval(low, high, method), left_out


def _how_without(metric: Metric, evidence: Evidence) -> str:
    """How the values without each group were found, where that is not one by one."""
    count, dimension = evidence.fake[metric.feature].shape
    if metric.compute is frechet.fid:
        return frechet.how_without(fake=count, dimension=dimension)
    return kernel.how_without(fake=count) if metric.compute is kernel.kid else ""


def _describe(metric: Metric, evidence: Evidence) -> str:
    """What was done with so many images, for our own metrics."""
    if METRICS.get(metric.name) is not metric or metric.name not in DESCRIBE:
        return ""
    stored = evidence.reference.features.get(metric.feature) if evidence.reference else None
    return DESCRIBE[metric.name](
        fake=len(evidence.clusters), real=0 if stored is None else len(stored)
    )
