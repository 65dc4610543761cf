"""One image on its way: what was sent for it and what that cost, in this process and in earlier
ones.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.core import Request
from evalkit.generate.remote.journal import Key, past
from evalkit.run_folder import Run

log = logging.getLogger(__name__)


@dataclass(order=True)
class Job:
    """The state of one image. Those that may be sent sort before those that wait, and then by their
    place in the list.
    """

    ready_at: float  # time.monotonic(); not sent before
    order: int
    request: Request = field(compare=False)
    attempts: int = field(
        default=0, compare=False
    )  # requests sent, those of earlier processes included
    cost: float | None = field(default=None, compare=False)  # US dollars, likewise
    possible_charges: int = field(default=0, compare=False)
    possible_cost: float | None = field(default=0.0, compare=False)
    failures: int = field(default=0, compare=False)  # of this process; 429s do not count
    rejections: int = field(default=0, compare=False)  # 429s in this process
    sent_at: float = field(default=0.0, compare=False)  # time.monotonic() of the last request

    def row(self, status: str, **more: Any) -> dict[str, Any]:
        """A row of the journal."""
        return {
            "index": self.request.index,
            "sample": self.request.sample,
            "status": status,
            "at": time.time(),
            **more,
        }


def jobs_of(run: Run, label: str, requests: Sequence[Request]) -> list[Job]:
    """A heap of the images to be asked for, with what earlier processes have sent and spent on
    them.
    """
    records = {(record.index, record.sample): record for record in run.records(label)}
    known = past(run.requests(label), list(records.values()))
    jobs: list[Job] = []
    lost = 0
    for order, request in enumerate(requests):
        key = (request.index, request.sample)
        job, record = Job(0.0, order, request), records.get(key)
        if record:
            job.cost, job.attempts = record.cost, record.attempts
            job.possible_charges, job.possible_cost = record.possible_charges, record.possible_cost
        if key in known:
            lost += known[key].possible_charges - job.possible_charges
            job.attempts, job.possible_charges, job.possible_cost = known[key]
        jobs.append(job)
    if lost:
        said = "%s: %d requests were in flight when an earlier process ended; they may have been charged, and are sent again"
        log.warning(said, label, lost)
    heapq.heapify(jobs)
    return jobs


def spent(run: Run, label: str, requests: Sequence[Request]) -> float:
    """US dollars that these images have cost so far, possible charges included, where the prices
    are known.
    """
    wanted = {(request.index, request.sample) for request in requests}
    records = [record for record in run.records(label) if (record.index, record.sample) in wanted]
    possible: dict[Key, float | None] = {
        (record.index, record.sample): record.possible_cost for record in records
    }
    known = past(run.requests(label), records)
    possible |= {key: item.possible_cost for key, item in known.items() if key in wanted}
    return sum(record.cost or 0.0 for record in records) + sum(
        value or 0.0 for value in possible.values()
    )
