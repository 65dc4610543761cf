"""The first Ctrl-C or SIGTERM stops gracefully; the second aborts."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


@contextlib.contextmanager
def gentle_interrupt(first: Callable[[], None]) -> Iterator[None]:
    """Call `first` on the first signal, which has its usual effect at the end of the block.

    The second one has it at once. `first` runs in the main thread, between two of its
    instructions. Outside the main thread, and for a signal that is ignored or ends the process,
    nothing changes.
    """
    usual: dict[int, Callable[[int, FrameType | None], Any]] = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if callable(handler := signal.getsignal(number))
    }
    if threading.current_thread() is not threading.main_thread():
        usual = {}
    received: list[int] = []

    def handle(number: int, frame: object) -> None:
        received.append(number)
        restore()
        first()

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    for number in usual:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
    for number in received:
        usual[number](number, None)
