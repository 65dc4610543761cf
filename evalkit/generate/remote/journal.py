"""The journal of requests: which of them were sent and never answered, after a killed process.

Before a request is sent, its row is on the disk: {index, sample, status: "sent", price, at}. An
answer after which the request is sent again is a row too: {index, sample, status: "rate_limited",
at}. The last answer for an image is its row in the manifest, whose `attempts` is the number of
requests sent for it. The other requests were in flight when a process was killed: the service may
have charged for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.core import Record

Image = tuple[int, int]  # index of the prompt, number of the sample


class Past(NamedTuple):
    """The requests for one image so far."""

    sent: int = 0
    possible_charges: int = 0  # requests without a known answer
    possible_cost: float | None = 0.0  # US dollars for these; None where the price is not known


def past(rows: Sequence[Mapping[str, Any]], records: Sequence[Record]) -> dict[Image, Past]:
    """The past of every image for which requests were sent.

    Args:
        rows: of the journal, in order of time.
        records: of the manifest; each settles as many requests as its `attempts`.
    """
    settled = {(record.index, record.sample): record for record in records}
    unanswered: dict[Image, list[float | None]] = defaultdict(list)  # their prices
    sent: dict[Image, int] = defaultdict(int)
    for row in rows:
        image = (row["index"], row["sample"])
        if row["status"] == "sent":
            sent[image] += 1
            if image not in settled or sent[image] > settled[image].attempts:
                unanswered[image].append(row["price"])
        elif unanswered[image]:
            unanswered[image].pop()
    result: dict[Image, Past] = {}
    for image, count in sent.items():
        charges, cost = 0, 0.0
        if record := settled.get(image):
            charges, cost = record.possible_charges, record.possible_cost
        for price in unanswered[image]:
            charges, cost = charges + 1, plus(cost, price)
        result[image] = Past(count, charges, cost)
    return result


def plus(one: float | None, other: float | None) -> float | None:
    """A sum of US dollars; None where a part is not known."""
    return None if one is None or other is None else one + other
