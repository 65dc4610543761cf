"""What the manifest alone says about a model: refusals and speed, as rows of metrics.json."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from evalkit.core import Better, MetricRow, Record
from evalkit.metrics.intervals import cluster_numbers, rate

_SPEED = ("images_per_second", "latency_p50", "latency_p95")
NAMES = ("refusal_rate", *_SPEED, "peak_memory")
_DEPENDENT = "no interval: images of a batch share its time"


def rows(model: str, records: Sequence[Record], requested: int) -> list[MetricRow]:
    """refusal_rate, images_per_second, latency_p50 and latency_p95 (seconds) of one model, and peak_memory where it is known."""
    seconds = np.array([record.seconds for record in records if record.status == "ok" and record.seconds > 0])
    return [_refusals(model, records, requested), *_speed(model, seconds, requested), *_memory(model, records, requested)]


def _refusals(model: str, records: Sequence[Record], requested: int) -> MetricRow:
    count = len(records)
    if not count:
        return _row(model, "refusal_rate", None, count, requested, "lower", note="not measured: nothing was asked for")
    refused = np.array([record.status.startswith("refused") for record in records], dtype=np.float64)
    low, high, method = rate(refused, cluster_numbers([record.prompt for record in records]))
    note = f"{int(refused.sum())} of {count} requests"
    return MetricRow(model, "refusal_rate", "", "", float(refused.mean()), low, high, count, requested, "lower", method, note)


def _speed(model: str, seconds: np.ndarray, requested: int) -> list[MetricRow]:
    count, made = len(seconds), {}
    if count:
        made = {"images_per_second": count / math.fsum(seconds)}
        made |= {f"latency_p{level}": float(np.quantile(seconds, level / 100)) for level in (50, 95)}
    note = "an image's time is its share of the time of its batch" if count else "not measured: the images were not made by this run"
    result = []
    for name in _SPEED:
        better: Better = "higher" if name == "images_per_second" else "lower"
        result.append(_row(model, name, made.get(name), count, requested, better, _DEPENDENT if count else "", note))
    return result


def _memory(model: str, records: Sequence[Record], requested: int) -> list[MetricRow]:
    """GiB; no row for the many models that say nothing about it."""
    known = [record.memory for record in records if record.memory > 0]
    note = "GiB, the most that was allocated on the accelerator, or on the CPU the most that the whole process took"
    return [_row(model, "peak_memory", max(known) / 2**30, len(known), requested, "lower", "no interval: a maximum", note)] if known else []


def _row(
    model: str, metric: str, value: float | None, count: int, requested: int, better: Better, interval: str = "", note: str = ""
) -> MetricRow:
    return MetricRow(model, metric, "", "", value, None, None, count, requested, better, interval, note)
