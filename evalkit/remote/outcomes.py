"""From an HTTP answer to an outcome: its status, the time to wait, and its error message.

For a 5xx the question is whether the same request may be sent again without paying twice. It may
where the service itself says that it failed. Where a gateway says that it got no answer in time,
the service behind it may still make the image and charge for it. This is `ambiguous`, and evalkit
sends it again only with --retry-ambiguous. Gateways have made hundreds of paid resubmissions a week
by confusing the two (Comfy-Org/ComfyUI#16204, pollinations#13173).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from evalkit.core import Status
from evalkit.remote.transport import Reply

BY_STATUS: Mapping[int, Status] = {
    401: "auth",
    402: "quota",  # payment required: OpenRouter, Stability, Black Forest Labs
    403: "auth",
    407: "auth",
    408: "transient",  # the server did not receive the whole request in time
    409: "transient",  # a lock at the service; it did not start
    425: "transient",
    429: "rate_limited",
    451: "refused_input",  # unavailable for legal reasons
    500: "transient",  # the service itself failed, and does not charge for a failed image
    502: "ambiguous",  # a gateway got no valid answer from the service, which may have worked
    503: "transient",  # not accepted
    504: "ambiguous",  # a gateway stopped waiting; the service may not have stopped
    520: "ambiguous",  # Cloudflare: the service closed the connection without an answer
    521: "transient",  # Cloudflare: the service refused the connection
    522: "ambiguous",  # Cloudflare: no acknowledgement in time
    523: "transient",  # Cloudflare: the service is not reachable
    524: "ambiguous",  # Cloudflare: connected, no answer in time
    525: "transient",  # Cloudflare: TLS handshake with the service failed
    526: "transient",  # Cloudflare: the certificate of the service is not valid
    529: "transient",  # overloaded, not accepted
}


def outcome_of_status(status: int) -> Status:
    """The outcome of an HTTP status where the answer contains no image."""
    if status >= 500:
        return BY_STATUS.get(status, "ambiguous")  # unknown: do not send again
    if status >= 300:  # redirects too: a key is never sent to another host
        return BY_STATUS.get(status, "bad_request")
    return "malformed"


def parse_json(reply: Reply) -> Any:
    """The JSON value of an answer; None for another content type, invalid JSON or not UTF-8."""
    if "json" not in reply.headers.get("content-type", "").lower():
        return None
    try:
        return json.loads(reply.body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the service asks to wait, from `retry-after-ms` or `Retry-After`, else None."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "").strip()) * unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    then = _timestamp(headers.get("retry-after", ""))
    now = _timestamp(headers.get("date", ""))  # by the clock of the service, where it sends a date
    return None if then is None else max(0.0, then - (time.time() if now is None else now))


def _timestamp(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def error_message(reply: Reply) -> str:
    """The error message of an answer in the usual JSON shapes or as plain text, else ""."""
    value = parse_json(reply)
    if value is None and reply.headers.get("content-type", "").lower().startswith("text/plain"):
        return reply.body[:2000].decode("utf-8", "replace")
    return _message(value)


def _message(value: object, depth: int = 0) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and depth < 4:
        return "; ".join(found for item in value[:3] if (found := _message(item, depth + 1)))
    if isinstance(value, dict) and depth < 4:
        for key in ("error", "message", "detail", "msg", "errors", "details", "title"):
            if found := _message(value.get(key), depth + 1):
                return found
    return ""
