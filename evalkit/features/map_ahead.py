"""Work of threads that is a limited amount ahead of the reader."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from evalkit.images.room import decoders, one_image

T = TypeVar("T")
R = TypeVar("R")
WAITING = 256 << 20  # bytes of results that may wait, beyond one for each thread


def map_ahead(
    work: Callable[[T], R],
    items: Iterable[T],
    ahead: int,
    size: Callable[[R], int] = lambda result: 0,
) -> Generator[tuple[T, R], None, None]:
    """Each item with `work(item)`, in order, by threads.

    Args:
        ahead: at most so many results wait in memory.
        size: the bytes of a result; where results are large, fewer of them wait.
    """
    queue: deque[tuple[T, Future[R]]] = deque()
    threads, largest = decoders(), 0

    def one(item: T) -> R:
        with one_image():
            return work(item)

    def first() -> tuple[T, R]:
        nonlocal largest
        item, future = queue.popleft()
        result = future.result()
        largest = max(largest, size(result), 1)
        return item, result

    def full() -> bool:  # few are enough until the size of one is known
        most = max(threads, WAITING // largest) if largest else threads
        return len(queue) >= min(ahead, most)

    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                queue.append((item, pool.submit(one, item)))
                while full():
                    yield first()
            while queue:
                yield first()
        finally:  # where the reader stops early, nobody waits for the rest
            for _, future in queue:
                future.cancel()


def one_ahead(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """The same items, none of them None; a thread makes the next one while the reader uses one."""
    with contextlib.closing(items), ThreadPoolExecutor(1) as pool:
        future = pool.submit(next, items, None)
        while (item := future.result()) is not None:
            future = pool.submit(next, items, None)
            yield item
