"""Replay: random access to a stream that can only be read forwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from evalkit.sources import SourceImage
from evalkit.sources.replay import Replay


def test_replay_restarts_only_for_dropped_items():
    starts: list[int] = []

    def start() -> Iterator[int]:
        starts.append(1)
        return iter(range(100))

    replay = Replay(start, lambda _: 1, keep=10)
    for number in (3, 1, 0, 2, 8, 20, 15):
        assert replay.take(number) == number
    assert len(starts) == 1
    assert replay.take(0) == 0
    assert len(starts) == 2
    assert (replay.peek(5), replay.take(5)) == (5, 5)
    with pytest.raises(IndexError):
        replay.take(100)
    barrier = threading.Barrier(4)

    def read(first: int) -> list[int]:
        barrier.wait()
        return [replay.take(number) for number in range(first, 100, 4)]

    replay = Replay(start, lambda _: 1)
    with ThreadPoolExecutor(4) as pool:
        assert sorted(number for part in pool.map(read, range(4)) for number in part) == list(
            range(100)
        )


def test_replay_does_not_read_past_an_error_again():
    starts: list[int] = []

    def start() -> Iterator[int]:
        starts.append(1)
        yield from range(5)
        raise OSError("torn")

    replay = Replay(start, lambda _: 1)
    for number in (9, 5, 7):
        with pytest.raises(OSError, match="torn"):
            replay.take(number)
    assert len(starts) == 1
    assert replay.take(4) == 4
    assert isinstance(SourceImage("a", lambda: b"").read(), bytes)
