"""The first Ctrl-C stops gracefully; the second aborts."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def gentle_interrupt(first: Callable[[], None]) -> Iterator[None]:
    """Call `first` on the first Ctrl-C; the second one has its usual effect.

    `first` runs in the main thread, between two of its instructions. Outside the main thread, and
    where Ctrl-C is ignored, nothing changes.
    """
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield
        return

    def handle(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, usual)
        first()

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
