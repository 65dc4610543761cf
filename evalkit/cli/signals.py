"""Ctrl-C and SIGTERM end a command alike: one line, exit code 130 or 143; it can be resumed."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

STOPPED = "stopped: run the same command again to resume."
_received: list[int] = []


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Handle both signals during the block; another one after it ends the process at once.

    Signals that are ignored, as in a background job of a shell, stay ignored. SIGTERM is what
    Slurm, Kubernetes and `kill` send.
    """
    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
    ]
    for number in numbers:
        signal.signal(number, _stop)
    try:
        yield
    except SystemExit as end:  # said by the command, or "Aborted!" of typer before it has begun
        if _received and end.code:
            _leave()
        raise
    except BaseException as error:
        # In the middle of an import, an interrupt may come out as any other exception.
        if not (_received or isinstance(error, KeyboardInterrupt)):
            raise
        print(STOPPED, file=sys.stderr)
        _leave()
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def exit_code() -> int:
    """130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def _leave() -> NoReturn:
    """End the process at once: libraries that were half imported may crash at a usual end."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(exit_code())


def _stop(number: int, frame: object) -> None:
    _received.append(number)
    raise KeyboardInterrupt
