"""The first Ctrl-C asks, the second one insists."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def gentle_interrupt(first: Callable[[], None]) -> Iterator[None]:
    """Make the first Ctrl-C a call of `first`, in the main thread and between two of its
    instructions; the second is as ever.

    In other threads, and where Ctrl-C is ignored, nothing changes.
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
