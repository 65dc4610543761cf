"""Threads that send requests to one service and bring back the answers."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from evalkit.core import EvalkitError
from evalkit.remote.jobs import Answer, Job, Outcome


class Finished(NamedTuple):
    """What a thread brings back: the answer with what was made of it, or an exception."""

    job: Job
    answer: Any  # an Answer; None after an exception
    made: Any  # by Work.made
    seconds: float
    error: BaseException | None = None


class Work(Protocol):
    """What is requested of one service, and where its answers are kept.

    `label` and `unit` are for messages: a model, and what one request makes ("image"). Threads call
    `ask` and `made`, one thread the rest.
    """

    label: str
    unit: str

    def price(self, job: Job) -> float | None:
        """US dollars that the next request for a job may cost; None if it is not known."""
        ...

    def ask(self, job: Job) -> Answer:
        """Send one request, once."""
        ...

    def made(self, job: Job, answer: Any, seconds: float) -> Any:
        """What is made of an answer in its thread, such as an image on the disk."""
        ...

    def journal(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows of the journal to the disk (see journal.py)."""
        ...

    def keep(self, finished: Sequence[Finished]) -> Sequence[Outcome]:
        """Write last answers to the disk; `Job.account` has their attempts and costs."""
        ...

    def reason_to_stop(self) -> EvalkitError | None:
        """Why nothing more is to be sent after the last `keep`; None for no reason."""
        ...


class Workers:
    """As many threads as there were ever requests in flight. Only one thread calls the methods.

    Attributes:
        in_flight: Job.order of the requests whose answers the caller has not handled yet.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.in_flight: set[int] = set()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()  # None ends a thread
        self._finished: queue.SimpleQueue[Finished | None] = queue.SimpleQueue()  # None: wake up
        self._threads = 0

    def send(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.in_flight.add(job.order)
            if self._threads < len(self.in_flight):
                name = f"{self.work.label}-{self._threads}"
                # A daemon, because an answer may never come.
                threading.Thread(target=self._work, daemon=True, name=name).start()
                self._threads += 1
            self._jobs.put(job)

    def wait(self, seconds: float) -> list[Finished]:
        """All answers that have arrived; waits for the first one, but not longer than `seconds`."""
        found: list[Finished] = []
        with contextlib.suppress(queue.Empty):
            item = self._finished.get(timeout=max(0.0005, seconds))
            while True:
                if item is not None:
                    found.append(item)
                item = self._finished.get_nowait()
        return found

    def wake(self) -> None:
        """End a `wait`. May be called by a signal handler."""
        self._finished.put(None)

    def close(self) -> None:
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        """Send, make what is to be made of the answer, and bring the result back."""
        for job in iter(self._jobs.get, None):
            started = time.monotonic()
            try:
                answer = self.work.ask(job)
                seconds = time.monotonic() - started
                made = self.work.made(job, answer, seconds)
                self._finished.put(Finished(job, answer, made, seconds))
            # The service is foreign code, and the disk may be full. Without this, the caller would
            # wait for an answer that never comes.
            except BaseException as error:
                self._finished.put(Finished(job, None, None, time.monotonic() - started, error))
