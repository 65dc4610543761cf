"""Answers of a service: one thread decides, the other threads wait.

One thread decides what to send and when, what an answer means, what it costs, and what is written,
so that no locks are needed. The order of each request is:

1. Its row in the journal is on the disk.
2. A thread sends it and checks the answer; of images, it writes the file.
3. Its last answer is on the disk: of images, a row in the manifest.

A process that is killed at any moment loses no last answer, and the journal has the requests that
were in flight.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Sequence
from typing import Any

from evalkit.core import EvalkitError
from evalkit.remote import retry, stops
from evalkit.remote.budget import Budget
from evalkit.remote.concurrency import FIRST, MOST, Concurrency
from evalkit.remote.interrupt import gentle_interrupt
from evalkit.remote.jobs import Answer, Job
from evalkit.remote.journal import plus
from evalkit.remote.tally import Tally, in_one_line
from evalkit.remote.workers import Finished, Work, Workers
from evalkit.terminal import progress

log = logging.getLogger(__name__)
PATIENCE = 60.0  # seconds that the first Ctrl-C waits for answers
SAID_AFTER = 3.0  # seconds; a longer wait is explained


def send(
    work: Work,
    jobs: list[Job],
    budget: Budget,
    retry_ambiguous: bool = False,
    most: float = MOST,
    pace: Concurrency | None = None,
) -> None:
    """Request all jobs, a heap, and keep exactly one last answer for each.

    Args:
        budget: what may be spent.
        retry_ambiguous: send requests again that were sent without an answer; each may be charged
            twice.
        most: requests in flight.
        pace: of a caller that sends in parts and shows its own progress: the state of the service,
            which has `most`.

    Raises:
        EvalkitError: sending stopped, for the reason in the error. Last answers are kept, and the
            same call continues.
        KeyboardInterrupt: after Ctrl-C or SIGTERM. Requests in flight were waited for, for PATIENCE
            seconds or until the second signal.
    """
    _Sender(
        work,
        jobs,
        budget,
        retry_ambiguous,
        pace or Concurrency(work.label, min(FIRST, most), most),
        pace is None,
    ).run()


def mention_lost(label: str, count: int) -> None:
    """Say in the log how many requests earlier processes left without an answer."""
    if count:
        log.warning(
            "%s: %d requests were in flight when an earlier process ended; they may have been "
            "charged, and are sent again",
            label,
            count,
        )


class _Sender:
    """The requests of one work in one process."""

    def __init__(
        self,
        work: Work,
        jobs: list[Job],
        budget: Budget,
        retry_ambiguous: bool,
        concurrency: Concurrency,
        shown: bool,
    ) -> None:
        self.work, self.label = work, work.label
        self.budget, self.retry_ambiguous = budget, retry_ambiguous
        self.waiting = jobs
        self.tally = Tally(work.label, len(jobs), work.unit)
        self.workers = Workers(work)
        self.concurrency, self.shown = concurrency, shown
        self.unwritten: list[dict[str, Any]] = []  # journal rows; the next rows are written too
        self.reached = False  # whether the service has ever answered
        self.error: EvalkitError | None = None  # the reason to stop
        self.give_up_at: float | None = None  # after Ctrl-C
        self.reason_to_wait = ""  # the last answer after which a request is sent again
        self.said_until = 0.0  # time.monotonic(); the end of the wait that was explained

    def run(self) -> None:
        started, total = time.monotonic(), self.tally.total if self.shown else 0
        try:
            with (
                gentle_interrupt(self._interrupted),
                progress(self.label, total, f"{self.work.unit}s") as self.advance,
            ):
                while True:
                    if not self._stopping:
                        self._send()
                    if self._done():
                        break
                    self._handle(self.workers.wait(self._seconds_to_wait()))
        finally:
            self.workers.close()
            if self.unwritten:
                self.work.journal(self.unwritten)
            seconds, in_flight = time.monotonic() - started, len(self.workers.in_flight)
            log.info("%s", self.tally.summary(seconds, in_flight))
        if self.error:
            raise self.error

    @property
    def _stopping(self) -> bool:
        return self.error is not None or self.give_up_at is not None

    def _done(self) -> bool:
        if not self.workers.in_flight and (self._stopping or not self.waiting):
            return True
        return self.give_up_at is not None and time.monotonic() > self.give_up_at

    def _stop(self, error: EvalkitError | None) -> None:
        self.error = self.error or error  # the first reason counts

    def _interrupted(self) -> None:
        """Handle the first Ctrl-C, between two instructions of the loop."""
        self.give_up_at = time.monotonic() + PATIENCE
        self.workers.wake()
        if self.workers.in_flight:
            log.warning(
                "%s: stopping; waiting up to %.0f s for %d requests in flight "
                "(press Ctrl-C again to abort)",
                self.label,
                PATIENCE,
                len(self.workers.in_flight),
            )

    def _send(self) -> None:
        """Send as many of the waiting jobs as time, concurrency and money allow."""
        now = time.monotonic()
        room = self.concurrency.room(len(self.workers.in_flight), now)
        jobs: list[Job] = []
        while self.waiting and self.waiting[0].ready_at <= now and len(jobs) < room:
            price = self.work.price(self.waiting[0])
            if not self.budget.reserve(price):
                # Requests in flight may turn out cheaper than what was reserved for them.
                if not self.workers.in_flight and not jobs:
                    self._stop(stops.out_of_money(self.work, price, self.budget))
                break
            jobs.append(heapq.heappop(self.waiting))
            jobs[-1].price = price
        if not jobs:
            return
        rows = [job.row("sent", price=job.price) for job in jobs]
        self.work.journal([*self.unwritten, *rows])
        self.unwritten.clear()
        now = time.monotonic()
        self.concurrency.sent(len(jobs), now)
        for job in jobs:
            job.attempts, job.sent_at = job.attempts + 1, now
        self.workers.send(jobs)

    def _seconds_to_wait(self) -> float:
        """Until something may be sent; an answer ends the wait earlier."""
        now = time.monotonic()
        until = now + 1.0
        if self.give_up_at is not None:
            until = min(until, self.give_up_at)
        elif self.waiting and not self.error:
            opens = max(self.waiting[0].ready_at, self.concurrency.opens_at())
            if opens > now:  # else only an answer makes room
                until = min(until, opens)
                self._explain_wait(opens, now)
        return until - now

    def _explain_wait(self, until: float, now: float) -> None:
        """Say once why nothing is sent for a while: the service may ask for minutes."""
        if until - now > SAID_AFTER and until > self.said_until + SAID_AFTER:
            self.said_until = until
            waits = f"waiting {until - now:.0f} s to send again"
            self.advance(0, waits)
            log.info("%s: %s after %s", self.label, waits, self.reason_to_wait)

    def _handle(self, finished: Sequence[Finished]) -> None:
        """Record the outcomes of the answers, or queue their requests again."""
        last: list[Finished] = []
        for item in finished:
            self.workers.in_flight.discard(item.job.order)
            if item.answer is None:
                # The request may have been sent: it stays open in the journal.
                self.budget.settle(item.job.price, item.job.price)
                self._stop(stops.after_exception(self.work, item.job, item.error))
                continue
            self._account(item.job, item.answer)
            if not self._sent_again(item.job, item.answer):
                last.append(item)
        for record in self.work.keep(last) if last else ():
            self.tally.add(record)
            if self.waiting:
                self._stop(stops.after_record(self.work, record, self.tally.failed_in_a_row))
            self.advance(1, self.tally.so_far())
        if last and self.waiting:
            self._stop(self.work.reason_to_stop())

    def _account(self, job: Job, answer: Answer) -> None:
        """Update concurrency, money and the counts of the job by an answer."""
        status, in_flight = answer.status, len(self.workers.in_flight)
        now = time.monotonic()
        self.concurrency.answered(status, job.sent_at, now, in_flight, answer.retry_after)
        doubtful = status in retry.DOUBTFUL and answer.cost is None
        cost = answer.cost if answer.cost is not None or status != "ok" else job.price
        self.budget.settle(job.price, job.price if doubtful else cost)
        if cost is not None:
            job.cost = (job.cost or 0.0) + cost
        if doubtful:
            job.possible_charges += 1
            job.possible_cost = plus(job.possible_cost, job.price)
        job.rejections += status == "rate_limited"
        job.failures += status in ("transient", "ambiguous")
        self.reached = self.reached or status not in ("transient", "ambiguous")
        failures = self.concurrency.failures
        self._stop(stops.after_answer(self.work, answer, failures, self.reached))

    def _sent_again(self, job: Job, answer: Answer) -> bool:
        """Queue the request again if its answer and its earlier failures allow it."""
        status = answer.status
        if self._stopping or not retry.sent_again(
            status, job.failures, job.rejections, self.retry_ambiguous
        ):
            return False
        wait = 0.0  # a 429 delays all requests (see Concurrency), a failure only its own
        if status != "rate_limited":
            wait = max(retry.backoff(job.failures), retry.capped(answer.retry_after or 0.0))
        job.ready_at = time.monotonic() + wait if wait else 0.0
        heapq.heappush(self.waiting, job)
        self.unwritten.append(job.row(status))
        detail = answer.detail
        asks = answer.retry_after
        self.reason_to_wait = f"{status} ({in_one_line(detail)})"
        if asks is not None:
            self.reason_to_wait += f", where the service asks to wait {asks:.0f} s"
        log.debug("%s: %s on %s, retry in %.1f s: %s", self.label, status, job.name, wait, detail)
        return True
