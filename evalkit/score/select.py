"""Which metrics a run is scored with."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit import plugins
from evalkit.core import EvalkitError, Metric
from evalkit.score import records

# Measured where no metric is named.
DEFAULT = ("fid", "kid", "inception_score", "clip_score", "precision", "recall")


def select(specs: Sequence[str]) -> list[Metric]:
    """The metrics of these names or `package.module:attribute` specs, checked.

    `("all",)` means every installed metric, `()` means DEFAULT. Names of measures that come from
    the records with every scoring (`refusal_rate`, …) are accepted and passed over.

    Raises:
        EvalkitError: an unknown name, a request outside the closed set, or two metrics of one name:
            rows, comparisons and reports identify a metric by its name.
    """
    if tuple(specs) == ("all",):
        specs = [*DEFAULT, *(name for name in plugins.names("metric") if name not in DEFAULT)]
    found: dict[str, Metric] = {}
    origins: dict[str, str] = {}
    for spec in specs or DEFAULT:
        if spec in records.MEASURES:
            continue
        metric = plugins.metric(spec)
        if metric.name in records.MEASURES:
            raise EvalkitError(
                f"The metric {spec!r} has the name {metric.name!r}, which evalkit computes from the"
                " records of a run.",
                "Give the metric another name.",
            )
        if metric.name in found:
            both = " and ".join(repr(item) for item in (origins[metric.name], spec))
            raise EvalkitError(
                f"Two metrics have the name {metric.name!r}: {both}.",
                "Name each metric once, or give yours another name.",
            )
        metric.needs  # noqa: B018 (raises for a request outside the closed set)
        found[metric.name], origins[metric.name] = metric, spec
    return list(found.values())
