"""Images from a service: one thread decides, the others wait for answers.

Everything that needs care (what is sent, when, what an answer means, what it cost, what is written)
happens in one thread, so that there is nothing to lock. A request takes this way: its row in the
journal is on the disk -> a thread sends it, checks the answer and writes the image -> its row in
the manifest is on the disk. Rows of answers that arrive together are written together. A kill at
any moment loses nothing that is in the manifest, and the journal knows what was under way.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from PIL.Image import Image

from evalkit.core import Answer, EvalkitError, Record, Request, Service
from evalkit.generate.remote.budget import Budget
from evalkit.generate.remote.concurrency import Concurrency
from evalkit.generate.remote.interrupt import gentle_interrupt
from evalkit.generate.remote.jobs import Job, jobs_of
from evalkit.generate.remote.journal import plus
from evalkit.generate.remote.retry import LONGEST, backoff, capped, sent_again
from evalkit.generate.remote.tally import Tally, in_one_line
from evalkit.images import encode_png
from evalkit.run_folder import Run
from evalkit.terminal import dollars, progress

log = logging.getLogger(__name__)
PATIENCE = 60.0  # seconds that a first Ctrl-C waits for answers
_FAILED_IN_A_ROW = 10  # outcomes that are no image and no refusal, after which nothing more is sent
_UNREACHED, _DOWN = (
    6,
    20,
    # failures in a row (see Concurrency) that are borne before the service has ever answered, and later
)
DOUBTFUL = (
    "ambiguous",
    "malformed",
)  # may have been charged: asked for again only where the user says so


class Finished(NamedTuple):
    """What a thread brings back: the answer with the record of its image, or what went wrong."""

    job: Job
    answer: Answer | None
    record: Record | None
    seconds: float
    error: BaseException | None = None


def fill(
    run: Run,
    label: str,
    service: Service,
    requests: Sequence[Request],
    rank: int,
    budget: Budget,
    retry_ambiguous: bool = False,
) -> None:
    """Ask for the images, and record exactly one outcome for each.

    Raises:
        EvalkitError: nothing more is sent, for the reason that it gives; what was finished is
            recorded, and the same call goes on.
        KeyboardInterrupt: after Ctrl-C; requests in flight were waited for, for PATIENCE seconds or
            until the second Ctrl-C.
    """
    with run.requesting(label, rank):
        _Session(run, label, service, requests, rank, budget, retry_ambiguous).work()


class _Session:
    """The requests of one model in one process."""

    def __init__(
        self,
        run: Run,
        label: str,
        service: Service,
        requests: Sequence[Request],
        rank: int,
        budget: Budget,
        retry_ambiguous: bool,
    ) -> None:
        self.run, self.label, self.service, self.rank = run, label, service, rank
        self.price, self.budget, self.retry_ambiguous = service.price, budget, retry_ambiguous
        self.waiting = jobs_of(run, label, requests)
        self.tally = Tally(label, len(requests))
        self.flying: set[int] = set()  # Job.order
        self.finished: queue.SimpleQueue[Finished | None] = (
            queue.SimpleQueue()
        )  # None wakes the loop
        self.work_queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()  # None ends a thread
        self.threads = 0
        self.concurrency = Concurrency(label)
        self.notes: list[dict[str, Any]] = []  # journal rows that may wait for the next ones
        self.answered = False  # whether the service has ever answered
        self.stopped: EvalkitError | None = None
        self.give_up_at: float | None = None  # after Ctrl-C

    def work(self) -> None:
        begun = time.monotonic()
        try:
            with (
                gentle_interrupt(self._interrupted),
                progress(self.label, self.tally.total) as self.advance,
            ):
                while True:
                    if not self._ending:
                        self._send()
                    if not self.flying and (self._ending or not self.waiting):
                        break
                    if self.give_up_at is not None and time.monotonic() > self.give_up_at:
                        break
                    self._settle(self._next())
        finally:
            for _ in range(self.threads):
                self.work_queue.put(None)
            if self.notes:
                self.run.append_requests(self.label, self.notes, self.rank)
            log.info("%s", self.tally.summary(time.monotonic() - begun, len(self.flying)))
        if self.stopped:
            raise self.stopped
        if self.give_up_at is not None:
            raise KeyboardInterrupt

    @property
    def _ending(self) -> bool:
        return self.stopped is not None or self.give_up_at is not None

    def _interrupted(self) -> None:
        """The first Ctrl-C. Runs between two instructions of the loop; the second Ctrl-C is an
        ordinary one.
        """
        self.give_up_at = time.monotonic() + PATIENCE
        self.finished.put(None)
        if self.flying:
            log.warning(
                "%s: nothing more is sent; waiting up to %.0f s for %d requests in flight (Ctrl-C again leaves them)",
                self.label,
                PATIENCE,
                len(self.flying),
            )

    # --- sending
    # -------------------------------------------------------------------------------------------------
    def _send(self) -> None:
        now = time.monotonic()
        room = self.concurrency.room(len(self.flying), now)
        jobs: list[Job] = []
        while self.waiting and self.waiting[0].ready_at <= now and len(jobs) < room:
            if not self.budget.reserve(self.price):
                if (
                    not self.flying and not jobs
                ):  # what is in flight may turn out cheaper than what was reserved for it
                    self._stop_for_money()
                break
            jobs.append(heapq.heappop(self.waiting))
        if not jobs:
            return
        rows = [job.row("sent", price=self.price) for job in jobs]
        self.run.append_requests(self.label, [*self.notes, *rows], self.rank)
        self.notes.clear()
        now = time.monotonic()
        self.concurrency.sent(len(jobs), now)
        for job in jobs:
            job.attempts, job.sent_at = job.attempts + 1, now
            self.flying.add(job.order)
            if self.threads < len(self.flying):
                threading.Thread(
                    target=self._ask, daemon=True, name=f"{self.label}-{self.threads}"
                ).start()
                self.threads += 1
            self.work_queue.put(job)

    def _ask(self) -> None:
        """The life of a thread: send, check, write the image, bring it back. A daemon: an answer
        may never come.
        """
        for job in iter(self.work_queue.get, None):
            begun = time.monotonic()
            request = job.request
            try:
                answer = self.service.request(request.prompt.text, request.seed, request.sample)
                seconds = time.monotonic() - begun
                record = self._image(job, answer, seconds) if answer.status == "ok" else None
                self.finished.put(Finished(job, answer, record, seconds))
            # somebody else's code, or a full disk; a thread that died silently would be waited for
            except BaseException as error:
                self.finished.put(Finished(job, None, None, time.monotonic() - begun, error))

    def _image(self, job: Job, answer: Answer, seconds: float) -> Record:
        image = answer.image
        if (
            not isinstance(image, Image)
            or image.mode != "RGB"
            or not image.width
            or not image.height
        ):
            found = (
                f"an image in mode {image.mode}, {image.size}"
                if isinstance(image, Image)
                else type(image).__name__
            )
            raise EvalkitError(
                f"The model {self.label!r} answered ok with {found}; expected an RGB image."
            )
        record = Record(
            job.request.prompt.id, job.request.index, job.request.sample, job.request.seed, "ok"
        )
        return self.run.save_image(
            self.label, replace(record, seconds=seconds, extra=answer.note), encode_png(image)
        )

    # --- answers
    # -------------------------------------------------------------------------------------------------
    def _next(self) -> list[Finished]:
        """The answers that are there; waits for one, or until something may be sent."""
        now = time.monotonic()
        until = now + 1.0
        if self.give_up_at is not None:
            until = min(until, self.give_up_at)
        elif self.waiting and not self.stopped:
            opens = max(self.waiting[0].ready_at, self.concurrency.opens_at())
            if opens > now:  # else only an answer makes room
                until = min(until, opens)
        found: list[Finished] = []
        with contextlib.suppress(queue.Empty):
            item = self.finished.get(timeout=max(0.0005, until - now))
            while True:
                if item is not None:
                    found.append(item)
                item = self.finished.get_nowait()
        return found

    def _settle(self, finished: Sequence[Finished]) -> None:
        records: list[Record] = []
        for item in finished:
            self.flying.discard(item.job.order)
            if item.answer is None:
                self._stop_for_error(item)
                continue
            record = self._judge(item.job, item.answer, item.record, item.seconds)
            if record is not None:
                records.append(record)
        if records:
            self.run.append_records(self.label, records, self.rank)
            for record in records:
                self._count(record)

    def _judge(
        self, job: Job, answer: Answer, record: Record | None, seconds: float
    ) -> Record | None:
        """The outcome, or None where the request is sent again."""
        now = time.monotonic()
        status = answer.status
        self.concurrency.answered(status, job.sent_at, now, len(self.flying), answer.retry_after)
        doubtful = status in DOUBTFUL and answer.cost is None
        cost = answer.cost if answer.cost is not None or status != "ok" else self.price
        self.budget.settle(self.price, self.price if doubtful else cost)
        if cost is not None:
            job.cost = (job.cost or 0.0) + cost
        if doubtful:
            job.possible_charges, job.possible_cost = (
                job.possible_charges + 1,
                plus(job.possible_cost, self.price),
            )
        job.rejections += status == "rate_limited"
        job.failures += status in ("transient", "ambiguous")
        self._watch(answer)
        if not self._ending and sent_again(
            status, job.failures, job.rejections, self.retry_ambiguous
        ):
            # A 429 holds all requests back (see Concurrency); a failure only its own.
            wait = (
                0.0
                if status == "rate_limited"
                else max(backoff(job.failures), capped(answer.retry_after or 0.0))
            )
            job.ready_at = now + wait if wait else 0.0
            heapq.heappush(self.waiting, job)
            self.notes.append(job.row(status))
            log.debug(
                "%s: %s on prompt %s, again in %.1f s: %s",
                self.label,
                status,
                job.request.prompt.id,
                wait,
                answer.detail,
            )
            return None
        request = job.request
        record = record or Record(
            request.prompt.id,
            request.index,
            request.sample,
            request.seed,
            status,
            seconds=seconds,
            detail=answer.detail,
        )
        return replace(
            record,
            attempts=job.attempts,
            cost=job.cost,
            possible_charges=job.possible_charges,
            possible_cost=job.possible_cost,
        )

    def _count(self, record: Record) -> None:
        self.tally.add(record)
        failed = self.tally.failed_in_a_row
        if failed >= _FAILED_IN_A_ROW and self.waiting:
            self._stop(
                f"{failed} requests in a row failed, the last one as {record.status}: {in_one_line(record.detail)}"
            )
        self.advance(1, self.tally.so_far())

    # --- stopping
    # ------------------------------------------------------------------------------------------------
    def _watch(self, answer: Answer) -> None:
        """Stop where the next requests would fare no better."""
        detail = in_one_line(answer.detail)
        if answer.status == "auth":
            self._stop(
                f"the service refused the key: {detail}",
                "Check the key and what it is allowed to do, then run",
                exit_code=2,
            )
        elif answer.status == "quota":
            self._stop(f"the quota is used up: {detail}", "Top it up, then run")
        elif answer.status == "rate_limited" and (answer.retry_after or 0.0) > LONGEST:
            self._stop(
                f"the service asks to wait {answer.retry_after:.0f} s, and at most {LONGEST:.0f} s are waited",
                "Then run",
            )
        self.answered = self.answered or answer.status not in ("transient", "ambiguous")
        if self.concurrency.failures >= (_DOWN if self.answered else _UNREACHED):
            self._stop(
                f"{self.concurrency.failures} requests in a row failed: {detail}",
                "Check address and network, or wait, then run",
            )

    def _stop_for_money(self) -> None:
        gone = f"{dollars(self.budget.spent)} of --max-cost {dollars(self.budget.most)} is spent"
        self._stop(
            f"the next image may cost {dollars(self.price)}, and {gone}", "Raise --max-cost and run"
        )

    def _stop_for_error(self, item: Finished) -> None:
        """A thread brought an exception: the request may have been sent, and stays open in the
        journal.
        """
        self.budget.settle(self.price, self.price)
        if isinstance(item.error, EvalkitError):
            self.stopped = self.stopped or item.error
            return
        error = f"{type(item.error).__name__}: {item.error}"
        failed = EvalkitError(
            f"The model {self.label!r} failed on prompt {item.job.request.prompt.id}: {error}.",
            "Mend the model, then run the same command again: it goes on with the missing images.",
        )
        failed.__cause__ = item.error
        self.stopped = self.stopped or failed

    def _stop(self, reason: str, then: str = "Run", exit_code: int = 3) -> None:
        hint = f"{then} the same command again: it goes on with the missing images; finished ones are kept."
        self.stopped = self.stopped or EvalkitError(
            f"{self.label} stopped: {reason.rstrip('.')}.", hint, exit_code
        )
