"""Threads that send requests to one service and bring back the answers."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from PIL.Image import Image

from evalkit.core import Answer, EvalkitError, Record, Service
from evalkit.generate.remote.jobs import Job
from evalkit.images import encode_png
from evalkit.run_folder import Run


class Finished(NamedTuple):
    """What a thread brings back: the answer with the record of its image, or an exception."""

    job: Job
    answer: Answer | None
    record: Record | None
    seconds: float
    error: BaseException | None = None


class Workers:
    """As many threads as there were ever requests in flight. Only one thread calls the methods.

    Attributes:
        in_flight: Job.order of the requests whose answers the caller has not handled yet.
    """

    def __init__(self, run: Run, label: str, service: Service) -> None:
        self.run, self.label, self.service = run, label, service
        self.in_flight: set[int] = set()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()  # None ends a thread
        self._finished: queue.SimpleQueue[Finished | None] = queue.SimpleQueue()  # None: wake up
        self._threads = 0

    def send(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.in_flight.add(job.order)
            if self._threads < len(self.in_flight):
                name = f"{self.label}-{self._threads}"
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
        """Send, check the answer, write the image, and bring the result back."""
        for job in iter(self._jobs.get, None):
            started = time.monotonic()
            request = job.request
            try:
                answer = self.service.request(request.prompt.text, request.seed, request.sample)
                seconds = time.monotonic() - started
                record = self._save(job, answer, seconds) if answer.status == "ok" else None
                self._finished.put(Finished(job, answer, record, seconds))
            # The service is foreign code, and the disk may be full. Without this, the caller would
            # wait for an answer that never comes.
            except BaseException as error:
                self._finished.put(Finished(job, None, None, time.monotonic() - started, error))

    def _save(self, job: Job, answer: Answer, seconds: float) -> Record:
        image = answer.image
        if not isinstance(image, Image) or image.mode != "RGB" or 0 in image.size:
            found = type(image).__name__
            if isinstance(image, Image):
                found = f"an image in mode {image.mode}, {image.size}"
            raise EvalkitError(
                f"The model {self.label!r} answered ok with {found}; expected an RGB image."
            )
        record = job.request.record("ok", seconds=seconds, extra=answer.note)
        return self.run.save_image(self.label, record, encode_png(image))
