"""Random access to a stream that can only be read forwards, such as a compressed archive."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Replay(Generic[T]):
    """Items of a stream by number, each to be taken once. Thread-safe.

    If items are taken nearly in order, the stream is read once. Items that were read but not taken
    are kept, up to `keep` items and `limit` bytes; to take an item that was dropped, the stream is
    read again from the start. After an error at an item, the stream is never read past that item.

    Args:
        start: opens the stream at its first item.
        size: bytes of an item.
    """

    def __init__(
        self,
        start: Callable[[], Iterator[T]],
        size: Callable[[T], int],
        keep: int = 256,
        limit: int = 3 << 28,
    ) -> None:
        self._start, self._size, self._keep, self._limit = start, size, keep, limit
        self._lock = threading.Lock()
        self._stream: Iterator[T] | None = None
        self._next = 0  # number of the stream's next item
        self._kept: dict[int, T] = {}
        self._bytes = 0
        self._error: tuple[int, Exception] | None = None  # with the number of its item

    def take(self, number: int) -> T:
        """The item, which is then dropped.

        Raises IndexError past the end, and the stream's error at its item and all later ones.
        """
        with self._lock:
            self._reach(number)
            item = self._kept.pop(number)
            self._bytes -= self._size(item)
            return item

    def peek(self, number: int) -> T:
        """The item, which `take` can still return."""
        with self._lock:
            self._reach(number)
            return self._kept[number]

    def peek_all(self) -> Iterator[tuple[int, T]]:
        """All items in order with their numbers; each can still be taken."""
        for number in itertools.count():
            try:
                item = self.peek(number)
            except IndexError:
                return
            yield number, item

    def _reach(self, number: int) -> None:
        if number in self._kept:
            return
        if self._error is not None and number >= self._error[0]:
            raise self._error[1]
        if self._stream is None or number < self._next:
            self._stream, self._next, self._kept, self._bytes = self._start(), 0, {}, 0
        while self._next <= number:
            try:
                item = next(self._stream)
            except StopIteration:
                raise IndexError(number) from None
            except Exception as error:
                self._error = self._next, error
                raise
            self._kept[self._next] = item
            self._bytes += self._size(item)
            self._next += 1
            while len(self._kept) > self._keep or (
                self._bytes > self._limit and len(self._kept) > 1
            ):
                oldest = next(iter(self._kept))
                self._bytes -= self._size(self._kept.pop(oldest))
