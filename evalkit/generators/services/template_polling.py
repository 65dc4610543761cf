"""Polling of a service that makes images in the background.

The service has accepted the request, so it is not sent again, whatever happens from here on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Any
from urllib.parse import quote

from evalkit.generators.services.json_paths import as_text, first_text, lookup, parse_path
from evalkit.generators.services.received import Unusable
from evalkit.generators.services.template import Poll, Rule
from evalkit.generators.services.template_rules import applies, describe
from evalkit.remote.addresses import Forbidden, Unresolved
from evalkit.remote.outcomes import error_message, parse_json, retry_after
from evalkit.remote.transport import Failed, Reply

Get = Callable[[str], Reply]  # GET with the key, from the service or a host that the template lists
_NO_REPLY = Reply(200, {"content-type": "application/json"}, b"")
_RESULT_ATTEMPTS = 3


def wait_until_done(poll: Poll, first: Any, rules: Sequence[Rule], get: Get) -> tuple[Reply, Any]:
    """The answer with the image or with a refusal, and its JSON, once the service is done.

    Raises Unusable: "ambiguous" where the outcome is not known, "transient" where the service says
    that it failed.
    """
    until = monotonic() + poll.timeout
    state, value, reply, problem = _state(poll, first), first, _NO_REPLY, ""
    url = _url(poll, first)
    while state not in poll.done and state not in poll.failed:
        asked = (retry_after(reply.headers) or 0.0) if reply.status == 429 else 0.0
        pause = max(poll.interval, asked)
        if monotonic() + pause > until:
            last = problem or f"its state is {state or 'not known'}"
            raise Unusable(
                "ambiguous",
                f"the request was accepted but not finished within {poll.timeout:g} s ({last})",
            )
        sleep(pause)
        reply, problem = _ask(url, get)
        if problem:
            continue
        value = parse_json(reply)
        if any(applies(rule, reply.status, value) for rule in rules):
            return reply, value
        if reply.status >= 300:
            reason = describe(reply, value)
            raise Unusable(
                "ambiguous", f"the request was accepted, but its state cannot be read: {reason}"
            )
        state = _state(poll, value)
    if state in poll.failed:
        reason = f"{state} {error_message(reply)}".rstrip()
        raise Unusable("transient", f"the service says that it failed: {reason}")
    if poll.answer is None:
        return reply, value
    result_url = first_text((poll.answer,), value) or first_text((poll.answer,), first)
    return _result(result_url, get, poll.interval)


def _result(url: str, get: Get, pause: float) -> tuple[Reply, Any]:
    """The answer at the URL of the result, with its own status."""
    reply, problem = _ask(url, get)
    for _ in range(_RESULT_ATTEMPTS - 1):
        if problem:
            sleep(pause)
            reply, problem = _ask(url, get)
    if problem and reply.status < 500:
        raise Unusable("ambiguous", f"the image was made but could not be fetched: {problem}")
    return reply, parse_json(reply)


def _ask(url: str, get: Get) -> tuple[Reply, str]:
    """One answer, and the temporary problem with it, if any. Polling costs nothing."""
    try:
        reply = get(url)
    except Forbidden as error:
        raise Unusable(
            "ambiguous", f"the request was accepted, but its state is not polled: {error}"
        ) from None
    except (Failed, Unresolved) as error:
        return _NO_REPLY, str(error)
    temporary = reply.status >= 500 or reply.status in (408, 425, 429)
    return reply, f"HTTP {reply.status}" if temporary else ""


def _state(poll: Poll, value: Any) -> str:
    return next((as_text(item) for item in lookup(poll.state, value)), "")


def _url(poll: Poll, first: Any) -> str:
    """The URL of the state, from the first answer."""

    def value_at(path_text: str) -> list[object]:
        path = parse_path(path_text)
        return lookup(path, first) if path else []

    def quoted(match: re.Match[str]) -> str:
        return quote(next(map(as_text, value_at(match[1])), ""), safe="")

    if poll.url.startswith(("https://", "http://")):
        found = re.sub(r"\{([^{}]+)\}", quoted, poll.url)
    else:
        found = next((item for item in value_at(poll.url) if isinstance(item, str) and item), "")
    if not found:
        raise Unusable(
            "ambiguous", "the request was accepted, but the answer has no URL for its state"
        )
    return found
