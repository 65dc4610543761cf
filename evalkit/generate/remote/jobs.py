"""One image that is requested: what was sent for it and its cost, in this and earlier processes."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.core import Request
from evalkit.generate.remote.journal import Image, past
from evalkit.run_folder import Run

log = logging.getLogger(__name__)


@dataclass(order=True)
class Job:
    """The state of one image. Jobs sort by the time when they may be sent, then by their order."""

    ready_at: float  # time.monotonic(); not sent before
    order: int  # in the list of requests
    request: Request = field(compare=False)
    # In all processes:
    attempts: int = field(default=0, compare=False)  # requests sent
    cost: float | None = field(default=None, compare=False)  # US dollars
    possible_charges: int = field(default=0, compare=False)
    possible_cost: float | None = field(default=0.0, compare=False)
    # In this process:
    failures: int = field(default=0, compare=False)  # without 429s
    rejections: int = field(default=0, compare=False)  # 429s
    sent_at: float = field(default=0.0, compare=False)  # time.monotonic() of the last request

    def row(self, status: str, **more: Any) -> dict[str, Any]:
        """A row of the journal."""
        index, sample = self.request.index, self.request.sample
        return {"index": index, "sample": sample, "status": status, "at": time.time(), **more}


def jobs_of(run: Run, label: str, requests: Sequence[Request]) -> list[Job]:
    """A heap of the images to request, with what earlier processes sent and spent for them."""
    records = {(record.index, record.sample): record for record in run.records(label)}
    known = past(run.requests(label), list(records.values()))
    jobs: list[Job] = []
    lost = 0
    for order, request in enumerate(requests):
        image = (request.index, request.sample)
        job, record = Job(0.0, order, request), records.get(image)
        if record:
            job.cost, job.attempts = record.cost, record.attempts
            job.possible_charges, job.possible_cost = record.possible_charges, record.possible_cost
        if image in known:
            lost += known[image].possible_charges - job.possible_charges
            job.attempts, job.possible_charges, job.possible_cost = known[image]
        jobs.append(job)
    if lost:
        log.warning(
            "%s: %d requests were in flight when an earlier process ended; they may have been "
            "charged, and are sent again",
            label,
            lost,
        )
    heapq.heapify(jobs)
    return jobs


def spent(run: Run, label: str, requests: Sequence[Request]) -> float:
    """US dollars that these images have cost so far, possible charges included.

    Costs that are not known count as 0.
    """
    wanted = {(request.index, request.sample) for request in requests}
    records = [record for record in run.records(label) if (record.index, record.sample) in wanted]
    possible: dict[Image, float | None] = {
        (record.index, record.sample): record.possible_cost for record in records
    }
    known = past(run.requests(label), records)
    possible |= {image: item.possible_cost for image, item in known.items() if image in wanted}
    return sum(record.cost or 0.0 for record in records) + sum(
        value or 0.0 for value in possible.values()
    )
