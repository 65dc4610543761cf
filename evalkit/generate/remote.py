"""The images of a service: which are requested, and how an answer becomes an image of the run."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL.Image import Image

from evalkit.core import Answer, EvalkitError, Record, Request, Service
from evalkit.images import encode_png
from evalkit.remote import send
from evalkit.remote.budget import Budget
from evalkit.remote.jobs import Job
from evalkit.remote.journal import past
from evalkit.remote.workers import Finished
from evalkit.run_folder import Run
from evalkit.shards import Shard

log = logging.getLogger(__name__)


def fill(
    run: Run,
    label: str,
    service: Service,
    requests: Sequence[Request],
    shard: Shard,
    requested: int,
    budget: Budget,
    retry_ambiguous: bool = False,
) -> None:
    """Request the images, and record exactly one outcome for each. Raises as `send.send`.

    `requested`: the images of the model in the whole run.
    """
    work = _Images(run, label, service, shard, requested)
    send.send(work, jobs_of(run, label, requests), budget, retry_ambiguous)


class _Images:
    """The images of one model, as a send.Work."""

    unit = "image"

    def __init__(
        self, run: Run, label: str, service: Service, shard: Shard, requested: int
    ) -> None:
        self.run, self.label, self.service, self.shard = run, label, service, shard
        self.requested = requested

    def price(self, job: Job) -> float | None:
        return self.service.price

    def ask(self, job: Job) -> Answer:
        request: Request = job.what
        return self.service.request(request.prompt.text, request.seed, request.sample)

    def made(self, job: Job, answer: Answer, seconds: float) -> Record | None:
        """The record of an image that is on the disk; None without one."""
        return self._save(job, answer, seconds) if answer.status == "ok" else None

    def journal(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.run.append_requests(self.label, rows, self.shard)

    def keep(self, finished: Sequence[Finished]) -> list[Record]:
        records = [_record(item, item.answer) for item in finished]
        self.run.append_records(self.label, records, self.shard)
        return records

    def reason_to_stop(self) -> None:
        return None

    def _save(self, job: Job, answer: Answer, seconds: float) -> Record:
        image = answer.image
        if not isinstance(image, Image) or image.mode != "RGB" or 0 in image.size:
            found = type(image).__name__
            if isinstance(image, Image):
                found = f"an image in mode {image.mode}, {image.size}"
            raise EvalkitError(
                f"The model {self.label!r} answered ok with {found}; expected an RGB image.",
                code="generate-18",
            )
        record = job.what.record("ok", seconds=seconds, extra=answer.note)
        return self.run.save_image(self.label, record, encode_png(image), self.requested)


def _record(item: Finished, answer: Any) -> Record:
    """The outcome of an image, with its attempts and costs in all processes."""
    job = item.job
    record = item.made or job.what.record(answer.status, seconds=item.seconds, detail=answer.detail)
    return replace(record, **job.account)


def jobs_of(run: Run, label: str, requests: Sequence[Request]) -> list[Job]:
    """A heap of the images to request, with what earlier processes sent and spent for them."""
    records = {(record.index, record.sample): record for record in run.records(label)}
    known = past(run.requests(label), records, _place)
    jobs: list[Job] = []
    lost = 0
    for order, request in enumerate(requests):
        image = (request.index, request.sample)
        key = {"index": request.index, "sample": request.sample}
        job = Job(0.0, order, request, key, f"prompt {request.prompt.id}")
        if record := records.get(image):
            job.cost, job.attempts = record.cost, record.attempts
            job.possible_charges, job.possible_cost = record.possible_charges, record.possible_cost
        if image in known:
            lost += known[image].possible_charges - job.possible_charges
            job.attempts, job.possible_charges, job.possible_cost = known[image]
        jobs.append(job)
    send.mention_lost(label, lost)
    heapq.heapify(jobs)
    return jobs


def spent(run: Run, label: str, requests: Sequence[Request]) -> float:
    """US dollars that these images have cost so far, possible charges included.

    Costs that are not known count as 0.
    """
    wanted = {(request.index, request.sample) for request in requests}
    records = {
        (record.index, record.sample): record
        for record in run.records(label)
        if (record.index, record.sample) in wanted
    }
    possible = {image: record.possible_cost for image, record in records.items()}
    known = past(run.requests(label), records, _place)
    possible |= {image: item.possible_cost for image, item in known.items() if image in wanted}
    return sum(record.cost or 0.0 for record in records.values()) + sum(
        value or 0.0 for value in possible.values()
    )


def _place(row: Mapping[str, Any]) -> tuple[int, int]:
    """The image of a row of the journal: the index of its prompt, the number of the sample."""
    return row["index"], row["sample"]
