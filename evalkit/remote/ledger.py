"""The last answers of earlier and this process: what is open, what was lost, what was spent."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from evalkit.remote import retry
from evalkit.remote.jobs import Job
from evalkit.remote.journal import Key, Past, past

Last = TypeVar("Last", bound=Any)  # a Settled with `status` and `cost`: a row of the journal


class Ledger(Generic[Key, Last]):
    """The journal of one work.

    Args:
        rows: of requests before this process, in order of time.
        last: the last answers by key; the caller adds those of this process with `add`.
        key_of: the key of a row.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        last: dict[Key, Last],
        key_of: Callable[[Mapping[str, Any]], Key],
    ) -> None:
        self.last, self._key_of = last, key_of
        self._rows: dict[Key, list[Mapping[str, Any]]] = defaultdict(list)
        for row in rows:
            self._rows[key_of(row)].append(row)

    def add(self, key: Key, answered: Last) -> None:
        self.last.pop(key, None)  # in order of time
        self.last[key] = answered

    def open_jobs(self, jobs: Iterable[tuple[Key, Job]], retry_ambiguous: bool) -> list[Job]:
        """A heap of the jobs without a last answer, and of those that may pass now.

        What was sent and got no usable answer may have been charged: it is open again only with
        `retry_ambiguous`.
        """
        again = ("bad_request", *retry.PASSING) + retry.DOUBTFUL * retry_ambiguous
        found: list[Job] = []
        for key, job in jobs:
            last, before = self.last.get(key), self._past(key)
            lost = _is_lost(last, before)
            if (last and last.status not in again) or (lost and not retry_ambiguous):
                continue
            if last:
                job.cost = last.cost
                job.attempts, job.possible_charges = last.attempts, last.possible_charges
                job.possible_cost = last.possible_cost
            if before:
                job.attempts, job.possible_charges, job.possible_cost = before
            found.append(job)
        heapq.heapify(found)
        return found

    def is_lost(self, key: Key) -> bool:
        """Whether a request for it was in flight when a process ended: its answer is not known."""
        return _is_lost(self.last.get(key), self._past(key))

    def lost(self) -> int:
        return sum(self.is_lost(key) for key in self._rows)

    def spent(self) -> float:
        """US dollars so far, possible charges included; costs that are not known count as 0."""
        possible = {key: one.possible_cost for key, one in self.last.items()}
        for key in self._rows:
            if before := self._past(key):
                possible[key] = before.possible_cost
        costs = (one.cost for one in self.last.values())
        return sum(cost or 0.0 for cost in (*costs, *possible.values()))

    def dearest(self) -> float:
        """US dollars of the dearest answer; 0 if no cost is known."""
        return max((one.cost or 0.0 for one in self.last.values()), default=0.0)

    def _past(self, key: Key) -> Past | None:
        return past(self._rows.get(key, ()), self.last, self._key_of).get(key)


def _is_lost(last: Any, before: Past | None) -> bool:
    known = last.possible_charges if last else 0
    return before is not None and before.possible_charges > known
