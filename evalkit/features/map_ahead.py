"""Ordered results of threads that work a limited number of items ahead of the reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from evalkit.images.room import decoders, one_image

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(work: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[tuple[T, R]]:
    """Each item with `work(item)`, in order; at most `ahead` results wait in memory."""
    queue: deque[tuple[T, Future[R]]] = deque()

    def one(item: T) -> R:
        with one_image():
            return work(item)

    with ThreadPoolExecutor(decoders()) as pool:
        for item in items:
            queue.append((item, pool.submit(one, item)))
            if len(queue) >= ahead:
                first, future = queue.popleft()
                yield first, future.result()
        while queue:
            first, future = queue.popleft()
            yield first, future.result()
