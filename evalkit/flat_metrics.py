"""metrics.flat.json: the rows of metrics.json as one object of numbers, for DVC and trackers.

The key of a value is `model/metric`. `low`, `high` and `count` of a row follow its key as a further
part. Parts that a row needs to be unique stand between: `encoder:`, `reference:`, `on:`, `group:`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from evalkit.core import MetricRow

FIELDS = ("low", "high", "count")


def flatten(rows: Sequence[MetricRow]) -> dict[str, float]:
    """Keys to finite numbers. A row without a value, or a field without a number, has no key."""
    flat: dict[str, float] = {}
    for key, row in keys(rows).items():
        if row.value is None:
            continue
        for name, value in (("", row.value), *((name, getattr(row, name)) for name in FIELDS)):
            if value is not None and math.isfinite(value):
                flat[f"{key}/{name}" if name else key] = value
    return flat


def keys(rows: Sequence[MetricRow]) -> dict[str, MetricRow]:
    """Key to row, with one key for each row.

    The encoder and the reference are part of the key only where the metric has several of them in
    these rows; images in common and a group of prompts are always named.
    """
    protocols: dict[str, set[tuple[str, str]]] = {}
    for row in rows:
        protocols.setdefault(row.metric, set()).add((row.encoder, row.reference))
    return {_key(row, len(protocols[row.metric]) > 1): row for row in rows}


def parse(key: str) -> tuple[dict[str, str], str]:
    """The fields of the row that a key names, and the field of the value: "value", "low", …"""
    model, metric, *more = key.split("/")
    field = more.pop() if more and more[-1] in FIELDS else "value"
    named = dict(part.split(":", 1) for part in more)
    found = {"model": model, "metric": metric, **named}
    return {name: _text(part) for name, part in found.items()}, field


def _key(row: MetricRow, protocol: bool) -> str:
    protocols = {"encoder": row.encoder, "reference": row.reference} if protocol else {}
    subset = {"on": "" if row.on == "answered" else row.on, "group": row.group}
    named = protocols | {name: text for name, text in subset.items() if text}
    parts = [f"{name}:{_part(text)}" for name, text in named.items()]
    return "/".join([_part(row.model), _part(row.metric), *parts])


def _part(text: str) -> str:
    """A text without slashes."""
    return text.replace("%", "%25").replace("/", "%2F")


def _text(part: str) -> str:
    return part.replace("%2F", "/").replace("%25", "%")
