"""Threads share the memory for images: large ones wait for each other, and none for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from evalkit.features.map_ahead import map_ahead
from evalkit.images.room import PIXELS, Room, one_image


def test_no_more_than_the_room_is_taken_at_once() -> None:
    room, lock, now, most = Room(10), threading.Lock(), [0], [0]

    def work(amount: int) -> None:
        with room.take(amount):
            with lock:
                now[0] += amount
                most[0] = max(most[0], now[0])
            threading.Event().wait(0.001)
            with lock:
                now[0] -= amount

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [4] * 40))
    assert 4 <= most[0] <= 8


def test_an_image_that_is_larger_than_the_room_waits_for_no_one_else() -> None:
    with Room(10).take(50):
        pass


def test_an_image_counts_until_its_item_is_done_and_a_thread_may_read_another() -> None:
    lock, held, most = threading.Lock(), set[int](), [0]

    def work(number: int) -> int:
        for _ in range(2):  # the second does not wait for the first, which is the thread's own
            with PIXELS.take(60_000_000):
                pass
        with lock:
            held.add(number)
            most[0] = max(most[0], len(held))
        threading.Event().wait(0.001)
        with lock:
            held.remove(number)
        return number

    assert [found for _, found in map_ahead(work, range(20), 8)] == list(range(20))
    assert most == [1]


def test_room_is_given_back_after_an_error() -> None:
    room = Room(10)
    for _ in range(3):
        try:
            with one_image(), room.take(10):
                raise ValueError
        except ValueError:
            pass
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: room.take(10).__enter__()).result(timeout=10)
