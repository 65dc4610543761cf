"""How many requests may be in flight at a service, and how fast they may follow each other.

Additive increase, multiplicative decrease, as in TCP (Chiu and Jain 1989): the limit doubles in
each round until the first 429, then it grows slowly and shrinks at each 429. Five rules are added
for services that limit requests per time rather than requests in flight:

- A 429 stops all sending for the time in Retry-After, or else for a pause that doubles with each
  consecutive 429.
- After the first 429, requests are spaced evenly, `latency / limit` seconds apart. There is no
  burst after a pause, and a limit below one has a meaning: the service gets requests less often
  than it answers.
- A 429 costs a pause, so after a longer pause the limit grows back more slowly: with the cube of
  the time (as in CUBIC, Ha et al. 2008), five percent in ten pauses.
- A 429 to a request that was sent before the last decrease does not shrink the limit again.
- Some services answer 429 at random. If the last four of eight decreases brought fewer images per
  second than the first four, a lower rate does not help, and the decreases are undone.

Server errors do not shrink the limit: they do not depend on the rate. After three in a row, one
request at a time probes whether the service has recovered, with pauses that double.

There are no threads and no clock in this module.
"""

from __future__ import annotations

import logging

from evalkit.core import Status
from evalkit.remote import retry

log = logging.getLogger(__name__)
# Requests in flight. Not below a half: 429s may come at random and say nothing about the rate then.
FIRST, MOST, LEAST = 4.0, 256.0, 0.5
# Factors of a decrease: at the first 429, at one within five pauses after the last one, at others.
# Chosen by simulations of 14 rates, latencies and bursts; test_concurrency.py has some.
_AT_FIRST, _SOON, _LATER = 0.8, 0.75, 0.9
_SOON_PAUSES = 5.0
_STEP = 0.1  # minimal growth per answer, so that large limits grow by some percent in each round
_COMPARED = 4  # decreases that are compared with as many earlier ones
_PROBING = 3  # consecutive failures, from which on one request at a time is sent
_LATE = 0.1  # seconds of spacing that a late sender may catch up


class Concurrency:
    """The state of one service. All times are seconds of one monotonic clock.

    Attributes:
        limit: requests that may be in flight; below one, they are spaced further apart than the
            latency.
        latency: seconds until an answer, a moving average; 0 before the first answer.
        rejections, failures: consecutive 429s and server errors; requests that were sent together
            count once. 0 after any image or refusal.
    """

    def __init__(self, name: str = "", first: float = FIRST, most: float = MOST) -> None:
        self.name, self.limit, self.most = name, first, most
        self.latency = 0.0
        self.rejections = self.failures = 0
        self._doubling = True
        self._base, self._pause = first, 0.0  # limit and pause of the last decrease
        self._made = 0  # images and refusals since the last decrease
        # Of each decrease: the limit before it, images made since the last one, and their seconds.
        self._history: list[tuple[float, int, float]] = []
        self._shrunk_at = self._failed_at = self._resumed_at = self._next_at = float("-inf")

    def room(self, in_flight: int, now: float) -> int:
        """How many requests may be sent now."""
        if now < self._next_at:
            return 0
        if self.failures >= _PROBING:
            return 0 if in_flight else 1
        if not self._gap:
            return max(0, max(1, int(self.limit)) - in_flight)  # before any answer, no spacing
        due = 1 + int(min(now - self._next_at, _LATE) / self._gap)
        # One more than the limit: the spacing takes care of its fraction.
        return max(0, min(int(self.limit) + 1 - in_flight, due))

    def sent(self, count: int, now: float) -> None:
        """Note that requests were sent."""
        if self._gap and count:
            self._next_at = max(self._next_at, now - _LATE) + count * self._gap

    def opens_at(self) -> float:
        """When spacing and pauses allow the next request."""
        return self._next_at

    def answered(
        self,
        status: Status,
        sent_at: float,
        now: float,
        in_flight: int,
        retry_after: float | None = None,
    ) -> None:
        """Update the state by one answer. in_flight: requests without an answer yet."""
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
            if in_flight + 1 >= 0.7 * self.limit:  # an unused limit says nothing
                self._grow(now)

    @property
    def _gap(self) -> float:
        """Seconds between two requests; 0 before the first 429."""
        return 0.0 if self._doubling else self.latency / self.limit

    def _grow(self, now: float) -> None:
        if self._doubling:
            self.limit = min(self.most, self.limit + 1)  # once per answer: doubles in a round
            return
        pauses = max(0.0, now - self._resumed_at) / max(self._pause, 1e-3)
        ceiling = self._base * (1 + 0.05 * (pauses / 10) ** 3)
        step = max(_STEP, min(1.0, self.limit) / max(1.0, self.limit))
        self.limit = max(self.limit, min(self.most, ceiling, self.limit + step))

    def _rejected(self, sent_at: float, now: float, retry_after: float | None) -> None:
        is_new = sent_at > self._shrunk_at
        self.rejections += is_new
        wait = (
            retry.capped(retry_after) if retry_after is not None else retry.backoff(self.rejections)
        )
        if is_new:
            if not self._doubling:
                self._history.append((self.limit, self._made, now - self._shrunk_at))
            self._made = 0
            soon = now - self._resumed_at < _SOON_PAUSES * self._pause
            factor = _AT_FIRST if self._doubling else _SOON if soon else _LATER
            self.limit = max(LEAST, self.limit * factor)
            self._undo_useless_decreases()
            self._base, self._pause, self._shrunk_at, self._doubling = self.limit, wait, now, False
        self._resumed_at = self._next_at = max(self._next_at, now + wait)
        log.debug(
            "%s: 429, at most %.2f requests in flight, pause of %.2f s", self.name, self.limit, wait
        )

    def _undo_useless_decreases(self) -> None:
        if len(self._history) < 2 * _COMPARED:
            return
        (before, after) = (
            sum(made for _, made, _ in part) / max(1e-9, sum(seconds for _, _, seconds in part))
            for part in (self._history[:_COMPARED], self._history[_COMPARED:])
        )
        if after < 0.9 * before and self.limit < self._history[0][0]:
            self.limit = self._history[0][0]
            log.debug(
                "%s: a lower rate does not help; %.2f requests in flight again",
                self.name,
                self.limit,
            )
            self._history.clear()
        else:
            del self._history[:_COMPARED]

    def _failed(self, sent_at: float, now: float) -> None:
        if sent_at <= self._failed_at:
            return
        self.failures, self._failed_at = self.failures + 1, now
        if self.failures >= _PROBING:
            wait = retry.backoff(self.failures - _PROBING + 1)
            self._next_at = max(self._next_at, now + wait)
            log.debug("%s: %d failures in a row, pause of %.2f s", self.name, self.failures, wait)
