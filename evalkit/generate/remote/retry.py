"""When a request is sent again, and after how long. The services themselves never send twice (see
core.Service).

Sent again are: rate_limited (429) and transient (a server error, a connection that could not be
made), and, only if the user asks for it, ambiguous (sent, and no answer came: it may have been
charged). Nothing else is: a refusal stays a refusal, a bad request a bad one, and an answer that
could not be read was probably paid for.
"""

from __future__ import annotations

import random

from evalkit.core import Status

ATTEMPTS = 6  # how often a request is sent while it fails
REJECTIONS = (
    10  # how often it is sent while it is told to come later, which is no failure of its own
)
LONGEST = 120.0  # seconds; no wish of a service is granted beyond this
_BASE, _CAP = 1.0, 30.0  # seconds


def sent_again(
    status: Status, failures: int, rejections: int, retry_ambiguous: bool = False
) -> bool:
    """Whether a request with this answer goes out once more.

    Args:
        status: the answer.
        failures: how often this request has failed in this process, this time included; 429s do not
            count.
        rejections: how often it was answered with 429, this time included.
        retry_ambiguous: whether the user accepts that a request may be charged twice.
    """
    if status == "rate_limited":
        return rejections < REJECTIONS
    return (
        status == "transient" or (status == "ambiguous" and retry_ambiguous)
    ) and failures < ATTEMPTS


def backoff(failures: int, draw: float | None = None) -> float:
    """Seconds to wait after so many failures in a row: exponential with full jitter, uniform in [0,
    min(30, 2^(failures - 1))).

    Full jitter keeps requests that failed together from coming back together
    (Brooker 2015, https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    return (random.random() if draw is None else draw) * min(
        _CAP, _BASE * 2 ** max(0, failures - 1)
    )


def capped(retry_after: float) -> float:
    """The seconds of a Retry-After as they are kept: never below zero, never above LONGEST."""
    return min(max(retry_after, 0.0), LONGEST)
