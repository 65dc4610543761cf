"""Whether a request is sent again, and after how long. Services never send twice by themselves.

Sent again are rate_limited (429), transient (a server error, a failed connection) and, only if the
user asks for it, ambiguous (sent without an answer: it may have been charged). Nothing else is: a
refusal and a bad request do not change, and an answer that could not be read was probably charged.
"""

from __future__ import annotations

import random

from evalkit.core import Status

# Last answers that a further process asks again, as they may pass; and those that may have been
# charged, which are asked again only if the user wishes.
PASSING = ("rate_limited", "quota", "auth", "transient")
DOUBTFUL = ("ambiguous", "malformed")
ATTEMPTS = 6  # requests for one image that may fail
REJECTIONS = 10  # requests for one image that may be answered with 429
LONGEST = 120.0  # seconds; the longest Retry-After that is followed
_BASE, _CAP = 1.0, 30.0  # seconds


def sent_again(
    status: Status, failures: int, rejections: int, retry_ambiguous: bool = False
) -> bool:
    """Whether a request with this answer is sent again.

    Args:
        status: the answer.
        failures: of this request in this process, this one included, without 429s.
        rejections: 429s of this request in this process, this one included.
        retry_ambiguous: whether the user accepts that a request may be charged twice.
    """
    if status == "rate_limited":
        return rejections < REJECTIONS
    retried = status == "transient" or (status == "ambiguous" and retry_ambiguous)
    return retried and failures < ATTEMPTS


def backoff(failures: int, draw: float | None = None) -> float:
    """Seconds to wait after consecutive failures: uniform in [0, min(30, 2^(failures - 1))).

    Exponential backoff with full jitter, which prevents requests that failed together from being
    sent again together (Brooker 2015,
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    longest = min(_CAP, _BASE * 2 ** max(0, failures - 1))
    return (random.random() if draw is None else draw) * longest


def capped(retry_after: float) -> float:
    """The seconds of a Retry-After within 0 and LONGEST."""
    return min(max(retry_after, 0.0), LONGEST)
