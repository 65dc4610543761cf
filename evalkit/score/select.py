"""Which metrics a run is scored with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evalkit import plugins
from evalkit.core import EvalkitError, Metric
from evalkit.hints import did_you_mean
from evalkit.score import records
from evalkit.score.presets import DEFAULT, PRESETS, expand


class UnknownMetric(EvalkitError):
    """No metric of this name is installed."""


def select(specs: Sequence[str]) -> list[Metric]:
    """The metrics of these names, presets or `package.module:attribute` specs, checked.

    `()` means DEFAULT; see `presets.expand` for the others. Names of measures that come from
    the records with every scoring (`refusal_rate`, …) are accepted and passed over.

    Raises:
        EvalkitError: an unknown name, a request outside the closed set, or two metrics of one name:
            rows, comparisons and reports identify a metric by its name.
    """
    found: dict[str, Metric] = {}
    origins: dict[str, str] = {}
    for spec in expand(specs) or DEFAULT:
        if spec in records.MEASURES:
            continue
        if spec not in plugins.metric_names() and ":" not in spec:
            known = [*plugins.metric_names(), *PRESETS, *records.MEASURES]
            raise UnknownMetric(
                f"There is no metric {spec!r}.",
                f"{did_you_mean(spec, known)} See `evalkit list metrics` and `list scorers`.",
                code="score-20",
            )
        metric = plugins.metric(spec)
        if metric.name in records.MEASURES:
            raise EvalkitError(
                f"The metric {spec!r} has the name {metric.name!r}, which evalkit computes from the"
                " records of a run.",
                "Give the metric another name.",
                code="score-21",
            )
        if ":" in spec and metric.name in plugins.metric_names():
            installed = plugins.metric(metric.name)
            if metric is not installed:
                raise EvalkitError(
                    f"The metric {spec!r} has the name of the installed metric {metric.name!r}.",
                    "Give the metric another name: results and reports name metrics by it.",
                    code="score-22",
                )
        if metric.name in found:
            both = " and ".join(repr(item) for item in (origins[metric.name], spec))
            raise EvalkitError(
                f"Two metrics have the name {metric.name!r}: {both}.",
                "Name each metric once, or give yours another name.",
                code="score-23",
            )
        metric.needs  # noqa: B018 (raises for a request outside the closed set)
        found[metric.name], origins[metric.name] = metric, spec
    return list(found.values())


def select_from(path: Path | str, specs: Sequence[str]) -> list[Metric]:
    """`select` with names from a file, which an error names."""
    try:
        return select(specs)
    except EvalkitError as error:
        raise EvalkitError(f"{path}: {error.message}", error.hint, code="score-24") from error
