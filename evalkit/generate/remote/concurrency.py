"""How many requests may be in flight at a service, and how fast they may follow each other. No
thread and no clock in here.

Additive increase, multiplicative decrease, as TCP does it (Chiu and Jain 1989): the limit doubles
in each round until the service says 429 for the first time, then it grows slowly and shrinks at
each 429. Five things are added for services that count requests per time rather than requests in
flight:

- A 429 stops all sending for as long as Retry-After says, or else for a pause that doubles with
  each 429 in a row.
- Once the service has said 429, requests are spaced evenly, `latency / limit` seconds apart. No
  pause is followed by a burst, and a limit below one means something: a service that allows little
  is asked less often than it answers.
- A 429 costs a pause, so that the limit grows back the more slowly, the longer the pause was: with
  the cube of the time (as in CUBIC, Ha et al. 2008), five percent in ten pauses.
- A 429 to a request that was sent before the last decrease is no news and shrinks nothing.
- Some services say 429 at random, whatever they are asked. Where the last four of eight decreases
  brought fewer images per second than the first four, being slow does not help, and they are taken
  back.

Server errors shrink nothing: they say that a service is ill, not that it is asked too often. After
three in a row, though, one request at a time finds out whether it is well again, with pauses that
double.
"""

from __future__ import annotations

import logging

from evalkit.core import Status
from evalkit.generate.remote.retry import backoff, capped

log = logging.getLogger(__name__)
# Of the limit. Not less than a half: 429s may also come at random, and say nothing about the rate
# then.
FIRST, MOST, LEAST = 4.0, 256.0, 0.5
# What the limit is multiplied with at the first 429, at one that comes within five pauses after the
# last one, and at others.
# Found by simulation over 14 rates, latencies and bursts (tests/test_remote_concurrency.py holds
# some of them).
_FIRST_TIME, _SOON, _LATER = 0.8, 0.75, 0.9
_SOON_PAUSES = 5.0
_STEP = (
    0.1  # growth per answer is never less, so that large limits grow by some percent in each round
)
_TRIED = 4  # decreases that are compared with as many before them
_ILL = 3  # failures in a row, from which on only one request at a time is sent
_LATE = 0.1  # seconds of spacing that a late sender may make up for


class Concurrency:
    """The state of one service. All times are seconds of one monotonic clock.

    Attributes:
        limit: requests that may be in flight; below one, they are spaced further apart than an
        answer takes.
        latency: seconds that an answer takes, a moving average; 0 before the first one.
        rejections, failures: 429s and server errors in a row, those of requests that were sent
        together counted once; 0 after any
            image or refusal.
    """

    def __init__(self, name: str = "", first: float = FIRST, most: float = MOST) -> None:
        self.name, self.limit, self.most = name, first, most
        self.latency = 0.0
        self.rejections = self.failures = 0
        self._doubling = True
        self._base, self._pause = first, 0.0  # limit and pause of the last decrease
        self._made = 0  # images and refusals since the last decrease
        self._history: list[
            tuple[float, int, float]
        ] = []  # of each decrease: limit before it, images made until it, seconds they took
        self._shrunk_at = self._failed_at = self._resumed_at = self._next_at = float("-inf")

    def room(self, in_flight: int, now: float) -> int:
        """How many requests may be sent now."""
        if now < self._next_at:
            return 0
        if self.failures >= _ILL:
            return 0 if in_flight else 1
        if not self._gap:
            return max(0, int(self.limit) - in_flight)
        due = 1 + int(min(now - self._next_at, _LATE) / self._gap)
        return max(
            0, min(int(self.limit) + 1 - in_flight, due)
        )  # the spacing keeps to the fraction of the limit

    def sent(self, count: int, now: float) -> None:
        """Note that so many requests were sent just now."""
        if self._gap and count:
            self._next_at = max(self._next_at, now - _LATE) + count * self._gap

    def opens_at(self) -> float:
        """When the next request may be sent, as far as spacing and pauses decide."""
        return self._next_at

    def answered(
        self,
        status: Status,
        sent_at: float,
        now: float,
        in_flight: int,
        retry_after: float | None = None,
    ) -> None:
        """Learn from one answer. in_flight: the requests that are still under way."""
        if status == "rate_limited":
            self._rejected(sent_at, now, retry_after)
        elif status == "transient":
            self._failed(sent_at, now)
        elif status in ("ok", "refused_input", "refused_output"):
            self.rejections = self.failures = 0
            self._made += 1
            if status == "ok":
                self.latency = (
                    0.9 * self.latency + 0.1 * (now - sent_at) if self.latency else now - sent_at
                )
            if in_flight + 1 >= 0.7 * self.limit:  # an unused limit teaches nothing
                self._grow(now)

    @property
    def _gap(self) -> float:
        """Seconds between two requests, 0 while the service has never said 429."""
        return 0.0 if self._doubling else self.latency / self.limit

    def _grow(self, now: float) -> None:
        if self._doubling:
            self.limit = min(
                self.most, self.limit + 1
            )  # for each answer: twice as much after a round
            return
        pauses = max(0.0, now - self._resumed_at) / max(self._pause, 1e-3)
        ceiling = self._base * (1 + 0.05 * (pauses / 10) ** 3)
        step = max(_STEP, min(1.0, self.limit) / max(1.0, self.limit))
        self.limit = max(self.limit, min(self.most, ceiling, self.limit + step))

    def _rejected(self, sent_at: float, now: float, retry_after: float | None) -> None:
        news = sent_at > self._shrunk_at
        self.rejections += news
        wait = capped(retry_after) if retry_after is not None else backoff(self.rejections)
        if news:
            if not self._doubling:
                self._history.append((self.limit, self._made, now - self._shrunk_at))
            self._made = 0
            soon = now - self._resumed_at < _SOON_PAUSES * self._pause
            self.limit = max(
                LEAST, self.limit * (_FIRST_TIME if self._doubling else _SOON if soon else _LATER)
            )
            self._take_back()
            self._base, self._pause, self._shrunk_at, self._doubling = self.limit, wait, now, False
        self._resumed_at = self._next_at = max(self._next_at, now + wait)
        log.debug(
            "%s: 429, at most %.2f requests in flight, pause of %.2f s", self.name, self.limit, wait
        )

    def _take_back(self) -> None:
        """After eight decreases: did they help?"""
        if len(self._history) < 2 * _TRIED:
            return
        (before, after) = (
            sum(made for _, made, _ in part) / max(1e-9, sum(seconds for _, _, seconds in part))
            for part in (self._history[:_TRIED], self._history[_TRIED:])
        )
        if after < 0.9 * before and self.limit < self._history[0][0]:
            self.limit = self._history[0][0]
            log.debug(
                "%s: being slow does not help, again %.2f requests in flight", self.name, self.limit
            )
            self._history.clear()
        else:
            del self._history[:_TRIED]

    def _failed(self, sent_at: float, now: float) -> None:
        if sent_at <= self._failed_at:
            return
        self.failures, self._failed_at = self.failures + 1, now
        if self.failures >= _ILL:
            wait = backoff(self.failures - _ILL + 1)
            self._next_at = max(self._next_at, now + wait)
            log.debug("%s: %d failures in a row, pause of %.2f s", self.name, self.failures, wait)
