"""Random access to a stream that can only be read forwards, such as a compressed archive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Replay(Generic[T]):
    """Items of a stream by number. Asked for nearly in order, the stream is read once; an item long
    past begins it anew.

    What was passed over is kept for threads that are a little behind, up to `keep` items and
    `limit` bytes, and given away once. An item at which the stream broke is never asked of it
    again.

    Args:
        start: opens the stream at its first item.
        size: bytes of an item.
    """

    def __init__(
        self,
        start: Callable[[], Iterator[T]],
        size: Callable[[T], int],
        keep: int = 256,
        limit: int = 1 << 30,
    ) -> None:
        self._start, self._size, self._keep, self._limit = start, size, keep, limit
        self._lock = threading.Lock()
        self._stream: Iterator[T] | None = None
        self._place = 0  # of the next item of the stream
        self._passed: dict[int, T] = {}
        self._bytes = 0
        self._broken: tuple[int, Exception] | None = None

    def take(self, number: int) -> T:
        """The item. Raises IndexError past the end, and what the stream raised where it broke at
        this item or before.
        """
        with self._lock:
            self._reach(number)
            item = self._passed.pop(number)
            self._bytes -= self._size(item)
            return item

    def peek(self, number: int) -> T:
        """The item, which stays at hand for `take`."""
        with self._lock:
            self._reach(number)
            return self._passed[number]

    def _reach(self, number: int) -> None:
        if number in self._passed:
            return
        if self._broken is not None and number >= self._broken[0]:
            raise self._broken[1]
        if self._stream is None or number < self._place:
            self._stream, self._place, self._passed, self._bytes = self._start(), 0, {}, 0
        while self._place <= number:
            try:
                item = next(self._stream)
            except StopIteration:
                raise IndexError(number) from None
            except Exception as error:
                self._broken = self._place, error
                raise
            self._passed[self._place] = item
            self._bytes += self._size(item)
            self._place += 1
            while len(self._passed) > self._keep or (
                self._bytes > self._limit and len(self._passed) > 1
            ):
                self._bytes -= self._size(self._passed.pop(next(iter(self._passed))))
