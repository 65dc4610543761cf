"""What the manifest alone says about a model: refusals, speed, memory and money, as rows of
metrics.json.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from evalkit.core import Better, MetricRow, Record
from evalkit.statistics.intervals import cluster_numbers, rate
from evalkit.terminal import dollars

_SPEED = ("images_per_second", "latency_p50", "latency_p95")
NAMES = ("refusal_rate", *_SPEED, "peak_memory", "cost_per_image")
_DEPENDENT = "no interval: images of a batch share its time"
_SHARED = "no interval: requests that run side by side share a service"


def rows(model: str, records: Sequence[Record], requested: int) -> list[MetricRow]:
    """refusal_rate, images_per_second, latency_p50 and latency_p95 (seconds) of one model,
    peak_memory where it is known, and cost_per_image (US dollars) of a service.
    """
    seconds = np.array(
        [record.seconds for record in records if record.status == "ok" and record.seconds > 0]
    )
    remote = any(record.attempts for record in records)
    found = [
        _refusals(model, records, requested),
        *_speed(model, seconds, requested, remote),
        *_memory(model, records, requested),
    ]
    return [*found, _cost(model, records, requested)] if remote else found


def _refusals(model: str, records: Sequence[Record], requested: int) -> MetricRow:
    count = len(records)
    if not count:
        return _row(
            model,
            "refusal_rate",
            None,
            count,
            requested,
            "lower",
            note="not measured: nothing was asked for",
        )
    refused = np.array(
        [record.status.startswith("refused") for record in records], dtype=np.float64
    )
    low, high, method = rate(refused, cluster_numbers([record.prompt for record in records]))
    note = f"{int(refused.sum())} of {count} requests"
    return MetricRow(
        model,
        "refusal_rate",
        "",
        "",
        float(refused.mean()),
        low,
        high,
        count,
        requested,
        "lower",
        method,
        note,
    )


def _speed(model: str, seconds: np.ndarray, requested: int, remote: bool) -> list[MetricRow]:
    count, made = len(seconds), {}
    if count:
        made = {"images_per_second": count / math.fsum(seconds)}
        made |= {
            f"latency_p{level}": float(np.quantile(seconds, level / 100)) for level in (50, 95)
        }
    note = (
        "an image's time is its share of the time of its batch"
        if count
        else "not measured: the images were not made by this run"
    )
    if remote:
        note = (
            "from request to answer, as if requests followed one another"
            if count
            else "not measured: no image was made"
        )
    result = []
    for name in _SPEED:
        better: Better = "higher" if name == "images_per_second" else "lower"
        result.append(
            _row(
                model,
                name,
                made.get(name),
                count,
                requested,
                better,
                (_SHARED if remote else _DEPENDENT) if count else "",
                note,
            )
        )
    return result


def _memory(model: str, records: Sequence[Record], requested: int) -> list[MetricRow]:
    """GiB; no row for the many models that say nothing about it."""
    known = [record.memory for record in records if record.memory > 0]
    note = "GiB, the most that was allocated on the accelerator, or on the CPU the most that the whole process took"
    return (
        [
            _row(
                model,
                "peak_memory",
                max(known) / 2**30,
                len(known),
                requested,
                "lower",
                "no interval: a maximum",
                note,
            )
        ]
        if known
        else []
    )


def _cost(model: str, records: Sequence[Record], requested: int) -> MetricRow:
    """Everything that is known to be charged, refused and unreadable answers too, over the images
    that were made.

    What may have been charged besides is named, not added: nobody knows.
    """
    made = [record for record in records if record.status == "ok"]
    unknown = sum(record.cost is None for record in made)
    total = math.fsum(record.cost or 0.0 for record in records)
    doubtful = [record.possible_cost for record in records if record.possible_charges]
    value = total / len(made) if made and not unknown else None
    notes = [f"US dollars; {dollars(total)} for {len(made)} images"]
    if unknown:
        notes = [f"not measured: the price of {unknown} of {len(made)} images is not known"]
        notes += [f"the others cost {dollars(total)}"] if unknown < len(made) else []
    elif not made:
        notes = [f"not measured: no image was made, for {dollars(total)}"]
    if doubtful:
        more = (
            "an unknown sum"
            if None in doubtful
            else dollars(math.fsum(cost or 0.0 for cost in doubtful))
        )
        count = sum(record.possible_charges for record in records)
        notes.append(
            f"{count} requests without a proper answer may have been charged besides ({more})"
        )
    interval = "no interval: an exact sum" if value is not None else ""
    return _row(
        model, "cost_per_image", value, len(made), requested, "lower", interval, "; ".join(notes)
    )


def _row(
    model: str,
    metric: str,
    value: float | None,
    count: int,
    requested: int,
    better: Better,
    interval: str = "",
    note: str = "",
) -> MetricRow:
    return MetricRow(
        model, metric, "", "", value, None, None, count, requested, better, interval, note
    )
