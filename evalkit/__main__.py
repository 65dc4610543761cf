"""The console script, and `python -m evalkit`, which torchrun needs: `torchrun -m evalkit train …`.

Ctrl-C ends it with one line and the exit code 130, from its first import to its end.
"""

# What `signal` is made of: it imports nothing, so that Ctrl-C is handled early.
import _signal as signal  # pyright: ignore[reportMissingImports]
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

_ended = False


def main() -> None:
    """Run the command line."""
    global _ended
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        signal.signal(signal.SIGINT, _interrupted)
    try:
        from evalkit.cli.app import main as run

        run()
    except KeyboardInterrupt:
        _stop()
    finally:
        _ended = True


def _interrupted(number: int, frame: "FrameType | None") -> None:
    """Raise KeyboardInterrupt, so that the command leaves nothing half done.

    At the end of Python and during imports the exception would be printed, or libraries would turn
    it into another one: these stop at once.
    """
    importing = False
    while frame and not importing:
        importing = frame.f_code.co_filename.startswith("<frozen importlib")
        frame = frame.f_back
    if not (importing or _ended):
        raise KeyboardInterrupt
    _stop()


def _stop():
    try:
        os.write(2, b"stopped: run the same command again to resume.\n")
    finally:  # also with a closed stderr
        os._exit(130)


if __name__ == "__main__":
    main()
