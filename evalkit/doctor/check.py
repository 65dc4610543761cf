"""One line of `evalkit doctor`."""

from __future__ import annotations

from typing import Literal, NamedTuple

from evalkit.core import EvalkitError

# ok: works. note: an optional part is not there, or something is limited; nothing is wrong.
# bad: a fault, whose correction `advice` says.
State = Literal["ok", "note", "bad"]


class Check(NamedTuple):
    topic: str
    state: State
    finding: str
    advice: str = ""  # what to do; "" for ok


def reason(error: BaseException) -> str:
    """An exception of any library in one short line; of an error of evalkit, its message."""
    if isinstance(error, EvalkitError):
        return error.message
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text:.300}" if text else type(error).__name__
