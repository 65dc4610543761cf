"""A signal in the middle of an import may come out as another exception."""

import subprocess
import sys

CODE = """
import os, signal
from evalkit.cli.signals import stoppable
def command():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt as error:
        raise RuntimeError("a library is half imported") from error
stoppable(command)
"""


def test_whatever_a_signal_raises_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        143,
        "stopped: run the same command again to resume.\n",
    )


def test_other_exceptions_are_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.replace("os.kill(os.getpid(), signal.SIGTERM)", "1 / 0")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
