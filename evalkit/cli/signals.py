"""Ctrl-C and SIGTERM end a command alike: one line, exit code 130 or 143; it can be resumed.

This module imports next to nothing, so that a signal is handled before the first slow import.
"""

# What `signal` is made of: it imports nothing.
import _signal as signal  # pyright: ignore[reportMissingImports]
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

STOPPED = "stopped: run the same command again to resume."
_received: list[int] = []
_ended = False


def stoppable(command: "Callable[[], None]") -> None:
    """Run the command, from its first import to the end of the process.

    Signals that are ignored, as in a background job of a shell, stay ignored. SIGTERM is what
    Slurm, Kubernetes and `kill` send.
    """
    global _ended
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupted)
    try:
        command()
    except KeyboardInterrupt:
        _stop()
    except Exception:
        # In C code, an interrupt may come out as any other exception.
        if _received:
            _stop()
        raise
    finally:
        _ended = True


def exit_code() -> int:
    """130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_received[-1] if _received else signal.SIGINT)


def _interrupted(number: int, frame: "FrameType | None") -> None:
    """Raise KeyboardInterrupt, so that the command leaves nothing half done.

    At the end of Python and during imports the exception would be printed, or libraries would turn
    it into another one: these stop at once.
    """
    _received.append(number)
    importing = False
    while frame and not importing:
        importing = frame.f_code.co_filename.startswith("<frozen importlib")
        frame = frame.f_back
    if not (importing or _ended):
        raise KeyboardInterrupt
    _stop()


def _stop() -> "NoReturn":
    try:
        os.write(2, f"{STOPPED}\n".encode())
    finally:  # also with a closed stderr
        os._exit(exit_code())
