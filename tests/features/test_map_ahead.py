"""map_ahead: ordered results and a limited number of items in work."""

from __future__ import annotations

import threading
import time

import pytest

from evalkit.features.map_ahead import map_ahead, one_ahead
from evalkit.images.room import decoders


def test_results_are_in_order_and_at_most_ahead():
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        time.sleep(0.001 * (number % 3))  # later items may be done first
        return number * number

    for count, (number, square) in enumerate(map_ahead(work, range(40), ahead=5), 1):
        assert (number, square) == (count - 1, number * number)
        assert len(started) < count + 5
    assert sorted(started) == list(range(40))


def test_few_large_results_wait():
    started: list[int] = []
    results = map_ahead(started.append, range(200), ahead=100, size=lambda _: 1 << 40)
    for count, _ in enumerate(results, 1):
        assert len(started) <= count + decoders()


def test_nothing_more_is_begun_where_the_reader_stops():
    started: list[int] = []

    def work(number: int) -> None:
        started.append(number)
        time.sleep(0.05)

    results = map_ahead(work, range(1000), ahead=500)
    next(results)
    next(results)
    results.close()
    assert len(started) < 500


def test_the_next_item_is_made_while_one_is_used():
    made = [threading.Event() for _ in range(3)]

    def items():
        for event in made:
            event.set()
            yield event

    used = one_ahead(items())
    next(used)
    assert made[1].wait(10)
    assert not made[2].is_set()  # one at most
    assert list(used) == made[1:]


def test_an_error_of_the_work_is_raised_at_its_item():
    results = map_ahead(lambda number: 1 // number, [1, 0, 1], ahead=3)
    assert next(results) == (1, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)
