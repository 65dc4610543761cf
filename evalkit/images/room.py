"""How much of images all threads may have in memory at once: large ones wait for each other.

A thread with room for the pixels of an image waits for nothing else, so none waits for ever.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator


class Room:
    """An amount that threads share. A single image always fits, however large it is."""

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Wait for room, and hold it to the end of the block, or of a block of `one_image`."""
        with contextlib.ExitStack() as own:
            (_own.block or own).enter_context(self._held(amount))
            yield

    @contextlib.contextmanager
    def _held(self, amount: int) -> Iterator[None]:
        waits = self not in _own.holding and PIXELS not in _own.holding
        with self._changed:
            while waits and self._taken and self._taken + amount > self._most:
                self._changed.wait()
            self._taken += amount
        _own.holding.append(self)
        try:
            yield
        finally:
            _own.holding.remove(self)
            with self._changed:
                self._taken -= amount
                self._changed.notify_all()


class _Own(threading.local):
    """What belongs to one thread."""

    def __init__(self) -> None:
        self.block: contextlib.ExitStack | None = None  # of `one_image`
        self.holding: list[Room] = []


def decoders() -> int:
    """How many threads decode: one for each processor that this process may use, 32 at most."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return min(32, len(affinity(0)) if affinity is not None else os.cpu_count() or 1)


_own = _Own()
FILES = Room(256 << 20)  # bytes
PIXELS = Room(64_000_000)  # decoded: 4 bytes each, and as much again while they are read


@contextlib.contextmanager
def one_image() -> Iterator[None]:
    """A block in which a thread reads, decodes and uses an image, and then drops it."""
    before = _own.block
    with contextlib.ExitStack() as block:
        _own.block = block
        try:
            yield
        finally:
            _own.block = before
