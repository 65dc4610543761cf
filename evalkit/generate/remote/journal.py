"""The journal of requests: which of them were sent and never answered, because the process that
sent them is gone.

A row is written, and is on the disk, before its request is sent: {index, sample, status: "sent",
price, at}. An answer after which the request is sent again is a row too: {index, sample, status:
"rate_limited", at}. The last answer of an image is its row in the manifest, whose `attempts` counts
the requests that were sent for it. What is left over was under way at a kill: the service may have
charged for it, and nobody will ever know.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.core import Record

Key = tuple[int, int]  # index of the prompt, number of the sample


class Past(NamedTuple):
    """What is known of the requests for one image."""

    sent: int = 0
    possible_charges: int = 0  # sent, and no answer is known
    possible_cost: float | None = 0.0  # US dollars for these; None where the price is not known


def past(rows: Sequence[Mapping[str, Any]], records: Sequence[Record]) -> dict[Key, Past]:
    """The past of every image that requests were sent for.

    Args:
        rows: of the journal, in the order of time.
        records: of the manifest; they settle as many requests as they count.
    """
    settled = {(record.index, record.sample): record for record in records}
    open_requests: dict[Key, list[float | None]] = defaultdict(list)
    sent: dict[Key, int] = defaultdict(int)
    for row in rows:
        key = (row["index"], row["sample"])
        if row["status"] == "sent":
            sent[key] += 1
            if key not in settled or sent[key] > settled[key].attempts:
                open_requests[key].append(row["price"])
        elif open_requests[key]:
            open_requests[key].pop()
    result: dict[Key, Past] = {}
    for key, count in sent.items():
        record = settled.get(key)
        known = (
            Past(count, record.possible_charges, record.possible_cost) if record else Past(count)
        )
        for price in open_requests[key]:
            known = known._replace(
                possible_charges=known.possible_charges + 1,
                possible_cost=plus(known.possible_cost, price),
            )
        result[key] = known
    return result


def plus(one: float | None, other: float | None) -> float | None:
    """A sum of US dollars, not known where a part of it is not."""
    return None if one is None or other is None else one + other
