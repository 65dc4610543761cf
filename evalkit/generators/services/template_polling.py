"""Waiting for a service that works in the background. The request was taken: whatever happens from
here on, it is not sent again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Any
from urllib.parse import quote

from evalkit.generators.services.addresses import Forbidden, Unresolved
from evalkit.generators.services.outcomes import parse_json, retry_after, words
from evalkit.generators.services.received import Unusable
from evalkit.generators.services.template import Poll, Rule
from evalkit.generators.services.template_paths import first_text, lookup, parse_path, plain
from evalkit.generators.services.template_rules import described, fits
from evalkit.generators.services.transport import Failed, Reply

Get = Callable[
    [str], Reply
]  # one GET with the key, to the service or a host that the template lists
_NOTHING = Reply(200, {"content-type": "application/json"}, b"")


def finished(poll: Poll, first: Any, rules: Sequence[Rule], get: Get) -> tuple[Reply, Any]:
    """The answer with the image, or with what the rules object to, once the service is done.

    Raises Unusable: "ambiguous" where the end is not known, "transient" where the service says that
    it failed.
    """
    until = monotonic() + poll.timeout
    state, value, reply, trouble = _state(poll, first), first, _NOTHING, ""
    url = _url(poll, first)
    while state not in poll.done and state not in poll.failed:
        pause = max(
            poll.interval, (retry_after(reply.headers) or 0.0) if reply.status == 429 else 0.0
        )
        if monotonic() + pause > until:
            last = trouble or f"its state is {state or 'not known'}"
            raise Unusable(
                "ambiguous",
                f"the request was taken, but not finished within {poll.timeout:g} s ({last})",
            )
        sleep(pause)
        reply, trouble = _look(url, get)
        if trouble:
            continue
        value = parse_json(reply)
        if any(fits(rule, reply.status, value) for rule in rules):
            return reply, value
        if reply.status >= 300:
            raise Unusable(
                "ambiguous",
                f"the request was taken, but its state cannot be read: {described(reply, value)}",
            )
        state = _state(poll, value)
    if state in poll.failed:
        raise Unusable(
            "transient", f"the service says that it failed: {state} {words(reply)}".rstrip()
        )
    if poll.answer is None:
        return reply, value
    return _result(
        first_text((poll.answer,), value) or first_text((poll.answer,), first), get, poll.interval
    )


def _result(url: str, get: Get, pause: float) -> tuple[Reply, Any]:
    """What stands behind the URL of the result: the answer of the model itself, with its own
    status.
    """
    reply, trouble = _look(url, get)
    for _ in range(2):
        if trouble:
            sleep(pause)
            reply, trouble = _look(url, get)
    if trouble and reply.status < 500:
        raise Unusable("ambiguous", f"the image was made, but could not be had: {trouble}")
    return reply, parse_json(reply)


def _look(url: str, get: Get) -> tuple[Reply, str]:
    """One look, and what stood in its way, "" for nothing. Reading is free and changes nothing: it
    may be repeated.
    """
    try:
        reply = get(url)
    except Forbidden as error:
        raise Unusable(
            "ambiguous", f"the request was taken, but its state is not asked for: {error}"
        ) from None
    except (Failed, Unresolved) as error:
        return _NOTHING, str(error)
    passing = reply.status >= 500 or reply.status in (408, 425, 429)
    return reply, f"HTTP {reply.status}" if passing else ""


def _state(poll: Poll, value: Any) -> str:
    return next((plain(item) for item in lookup(poll.state, value)), "")


def _url(poll: Poll, first: Any) -> str:
    """Where to ask, from the first answer. Raises Unusable where it does not say."""
    if not poll.url.startswith(("https://", "http://")):
        path = parse_path(poll.url)
        found = first_text((path,), first) if path else ""
    else:

        def filled(match: re.Match[str]) -> str:
            path = parse_path(match[1])
            return quote(
                next((plain(item) for item in lookup(path, first)), "") if path else "", safe=""
            )

        found = re.sub(r"\{([^{}]+)\}", filled, poll.url)
    if not found:
        raise Unusable(
            "ambiguous",
            "the request was taken, but the answer does not say where its state can be asked for",
        )
    return found
