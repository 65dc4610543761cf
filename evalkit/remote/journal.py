"""The journal of requests: which of them were sent and never answered, after a killed process.

Before a request is sent, its row is on the disk: its key (of an image `index` and `sample`), status
"sent", price, at. An answer after which the request is sent again is a row too: its key, status
"rate_limited", at. The last answer is recorded with its `attempts`, the number of requests sent for
it. The other requests were in flight when a process was killed: the service may have charged for
them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar


class Settled(Protocol):
    """A last answer: it settles as many requests as its `attempts`."""

    @property
    def attempts(self) -> int: ...
    @property
    def possible_charges(self) -> int: ...
    @property
    def possible_cost(self) -> float | None: ...


class Past(NamedTuple):
    """The requests for one key so far."""

    sent: int = 0
    possible_charges: int = 0  # requests without a known answer
    possible_cost: float | None = 0.0  # US dollars for these; None where the price is not known


Key = TypeVar("Key", bound=Hashable)


def past(
    rows: Sequence[Mapping[str, Any]],
    settled: Mapping[Key, Settled],
    key_of: Callable[[Mapping[str, Any]], Key],
) -> dict[Key, Past]:
    """The past of every key for which requests were sent.

    Args:
        rows: of the journal, in order of time, without last answers.
        settled: the last answers.
        key_of: the key of a row.
    """
    unanswered: dict[Key, list[float | None]] = defaultdict(list)  # their prices
    sent: dict[Key, int] = defaultdict(int)
    for row in rows:
        key = key_of(row)
        if row["status"] == "sent":
            sent[key] += 1
            if key not in settled or sent[key] > settled[key].attempts:
                unanswered[key].append(row["price"])
        elif unanswered[key]:
            unanswered[key].pop()
    result: dict[Key, Past] = {}
    for key, count in sent.items():
        charges, cost = 0, 0.0
        if last := settled.get(key):
            charges, cost = last.possible_charges, last.possible_cost
        for price in unanswered[key]:
            charges, cost = charges + 1, plus(cost, price)
        result[key] = Past(count, charges, cost)
    return result


def plus(one: float | None, other: float | None) -> float | None:
    """A sum of US dollars; None where a part is not known."""
    return None if one is None or other is None else one + other
