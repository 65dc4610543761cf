"""Adaptive concurrency, retries and backoff with a simulated service and a simulated clock."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field
from typing import Literal

import pytest

from evalkit.core import Status
from evalkit.remote import concurrency, retry
from evalkit.remote.concurrency import Concurrency
from evalkit.remote.retry import ATTEMPTS, LONGEST, REJECTIONS, backoff, capped, sent_again

RetryAfter = Literal["exact", "whole seconds", "nothing"]  # the content of Retry-After


@dataclass
class Simulation:
    """A service with a token bucket of `rate` per second and size `burst`, or with `slots`."""

    latency: float
    rate: float | None = None
    burst: int = 1
    slots: int | None = None
    retry_after: RetryAfter = "exact"
    sent: list[tuple[float, bool]] = field(default_factory=list)  # time, whether it was accepted
    pauses: list[tuple[float, float]] = field(default_factory=list)  # from, until
    most_in_flight: int = 0

    def run(self, count: int, seed: int = 0) -> float:
        """Seconds until `count` requests are answered. Asserts the invariants."""
        state, draw = Concurrency("simulated"), random.Random(seed)
        now, room_at, room, busy = 0.0, 0.0, float(self.burst), 0
        answers: list[tuple[float, int, Status, float, float | None]] = []
        waiting, in_flight_now, done, number = count, 0, 0, 0
        while done < count:
            free = min(state.room(in_flight_now, now), waiting)
            if free:
                # Nothing is sent during the time in Retry-After.
                assert not any(start < now < end for start, end in self.pauses)
                state.sent(free, now)
            for _ in range(free):
                waiting, in_flight_now, number = waiting - 1, in_flight_now + 1, number + 1
                taken, wait = True, 0.05
                if self.rate:
                    room, room_at = min(float(self.burst), room + (now - room_at) * self.rate), now
                    taken, wait = room >= 1, (1 - room) / self.rate
                    room -= taken
                if self.slots is not None:
                    taken = busy < self.slots
                self.sent.append((now, taken))
                busy += taken
                after = {"exact": wait, "whole seconds": float(math.ceil(wait)), "nothing": None}[
                    self.retry_after
                ]
                took = self.latency * draw.uniform(0.7, 1.3) if taken else 0.002
                heapq.heappush(
                    answers,
                    (
                        now + took,
                        number,
                        "ok" if taken else "rate_limited",
                        now,
                        None if taken else after,
                    ),
                )
            self.most_in_flight = max(self.most_in_flight, in_flight_now)
            times = [answers[0][0]] if answers else []
            if (
                waiting
                and state.opens_at() > now
                and state.room(in_flight_now, state.opens_at() + 1e-9) > 0
            ):
                times.append(state.opens_at() + 1e-9)
            now = max(now, min(times, default=now + 0.001))
            while answers and answers[0][0] <= now:
                at, _, status, sent_at, after = heapq.heappop(answers)
                in_flight_now -= 1
                busy -= status == "ok"
                done += status == "ok"
                waiting += status != "ok"
                if status == "rate_limited" and after is not None:
                    self.pauses.append((at, at + after))
                state.answered(status, sent_at, at, in_flight_now, after)
        return now


@pytest.fixture(autouse=True)
def fixed_jitter() -> None:
    random.seed(0)


@pytest.mark.parametrize(
    ("rate", "latency", "burst", "retry_after"),
    [
        (100, 0.02, 10, "exact"),
        (50, 0.03, 50, "whole seconds"),
        (20, 2, 20, "whole seconds"),
        (10, 1, 10, "nothing"),
        (2, 10, 5, "whole seconds"),
        (50 / 60, 10, 5, "whole seconds"),
        (5 / 60, 12, 2, "exact"),  # five images a minute, as in the lowest tiers
        (5 / 60, 12, 2, "nothing"),
    ],
)
def test_the_throughput_is_at_least_nine_tenths_of_a_rate_limit(
    rate: float, latency: float, burst: int, retry_after: RetryAfter
) -> None:
    count = max(60, min(3000, round(900 * rate)))
    service = Simulation(latency, rate, burst, retry_after=retry_after)
    best = latency + (count - burst) / rate
    assert best / service.run(count) >= 0.9
    refused = sum(not taken for _, taken in service.sent)
    assert refused < count


def test_the_throughput_with_a_limit_on_requests_in_flight() -> None:
    for slots in (3, 8, 30):
        service = Simulation(1.0, slots=slots)
        assert slots * service.run(1000) <= 1000 / 0.8
        assert service.most_in_flight <= 2 * slots + 4


def test_the_limit_grows_until_the_first_429_and_up_to_the_maximum() -> None:
    service = Simulation(1.0)
    seconds = service.run(5000)
    assert service.most_in_flight == concurrency.MOST
    assert seconds < 5000 / concurrency.MOST + 12  # doubling: 4, 8, 16, ...
    assert sum(at == 0 for at, _ in service.sent) == concurrency.FIRST


def test_one_request_at_a_time_is_sent_again_after_a_429_to_the_first_one() -> None:
    state = Concurrency(first=1.0, most=1.0)
    assert state.room(0, 0.0) == 1
    state.sent(1, 0.0)
    state.answered("rate_limited", 0.0, 0.1, 0, retry_after=1.0)
    assert state.room(0, 1.0) == 0
    assert state.room(0, 1.2) == 1
    assert state.room(1, 1.2) == 0


def test_there_is_no_burst_after_a_pause() -> None:
    """After a 429 with Retry-After 20 for forty requests, they are sent one by one."""
    state = Concurrency()
    state.limit, state.latency = 40.0, 2.0
    for _ in range(39):
        state.answered("rate_limited", 1.0, 3.0, 10, 20.0)
    assert state.limit == 32.0  # all were sent before the first 429: one decrease
    assert state.room(0, 22.9) == 0
    assert state.room(0, 23.0) == 1
    state.sent(1, 23.0)
    assert state.room(1, 23.0) == 0
    assert state.opens_at() == pytest.approx(23.0 + 2.0 / 32.0)
    assert state.room(5, 60.0) <= 2  # a late sender catches up at most a tenth of a second


def test_server_errors_keep_the_limit_and_lead_to_probing() -> None:
    state = Concurrency()
    limit = state.limit
    for at in range(3):
        state.answered("transient", at, at + 0.5, 2)
        state.answered("transient", at, at + 0.5, 2)  # sent together with the other: counts once
    assert (state.limit, state.failures) == (limit, 3)
    later = state.opens_at() + 1e-9
    assert (state.room(0, later), state.room(1, later)) == (1, 0)
    state.answered("ok", later, later + 1, 0)
    assert state.room(0, later + 1) >= limit


def test_which_requests_are_sent_again() -> None:
    assert sent_again("transient", ATTEMPTS - 1, 0)
    assert not sent_again("transient", ATTEMPTS, 0)
    assert sent_again("rate_limited", ATTEMPTS, REJECTIONS - 1)
    assert not sent_again("rate_limited", 0, REJECTIONS)
    assert not sent_again("ambiguous", 1, 0)
    assert sent_again("ambiguous", 1, 0, retry_ambiguous=True)
    never: tuple[Status, ...] = (
        "ok",
        "refused_input",
        "refused_output",
        "quota",
        "auth",
        "bad_request",
        "malformed",
    )
    assert not any(sent_again(status, 0, 0, retry_ambiguous=True) for status in never)


def test_backoff_is_exponential_with_full_jitter_and_a_maximum() -> None:
    assert [backoff(failures, 1.0) for failures in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert backoff(3, 0.0) == 0.0
    drawn = [backoff(4) for _ in range(2000)]
    assert min(drawn) < 0.5
    assert 7.5 < max(drawn) < 8
    assert sum(drawn) / 2000 == pytest.approx(4, abs=0.3)
    assert [capped(seconds) for seconds in (-1.0, 0.5, 3600.0)] == [0.0, 0.5, LONGEST]
    assert retry.LONGEST == 120
