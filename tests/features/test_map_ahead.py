"""map_ahead: ordered results and a limited number of items in work."""

from __future__ import annotations

import time

import pytest

from evalkit.features.map_ahead import map_ahead


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


def test_an_error_of_the_work_is_raised_at_its_item():
    results = map_ahead(lambda number: 1 // number, [1, 0, 1], ahead=3)
    assert next(results) == (1, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)
