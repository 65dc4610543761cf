"""From an HTTP answer to an outcome: which status means what, how long to wait, and the service's
own words.

The question behind the 5xx rows is whether the same request may be sent again without paying twice.
Where the service itself says that it failed, it may. Where a gateway says that it heard nothing in
time, the service behind it may still be drawing, and may
charge: that is `ambiguous`, and it is not sent again unless the user says so. Gateways have been
seen to make hundreds of paid resubmissions a week out of this confusion (Comfy-Org/ComfyUI#16204,
pollinations#13173).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from evalkit.core import Status
from evalkit.generators.services.transport import Reply

BY_STATUS: Mapping[int, Status] = {
    401: "auth",
    402: "quota",  # payment required: OpenRouter, Stability, Black Forest Labs
    403: "auth",
    407: "auth",
    408: "transient",  # the server gave up waiting for the request: it never had the whole
    409: "transient",  # a lock at the service; nothing was begun
    425: "transient",
    429: "rate_limited",
    451: "refused_input",  # unavailable for legal reasons
    500: "transient",  # the service itself says that it failed, and a failed image is not charged
    502: "ambiguous",  # a gateway heard no proper answer from the service, which may have worked
    503: "transient",  # not taken
    504: "ambiguous",  # a gateway stopped waiting; the service may not have
    520: "ambiguous",  # Cloudflare: the service closed the connection with no answer
    521: "transient",  # Cloudflare: the service refused the connection
    522: "ambiguous",  # Cloudflare: no acknowledgement in time
    523: "transient",  # Cloudflare: the service is not reachable
    524: "ambiguous",  # Cloudflare: connected, no answer in time
    525: "transient",  # Cloudflare: TLS handshake with the service failed
    526: "transient",  # Cloudflare: certificate of the service not valid
    529: "transient",  # overloaded, not taken
}


def outcome_of(status: int) -> Status:
    """The outcome that an HTTP status means by itself, where there is no image."""
    if status >= 500:
        return BY_STATUS.get(status, "ambiguous")  # unknown: not sent again unasked
    if status >= 300:
        return BY_STATUS.get(
            status, "bad_request"
        )  # redirects too: a key is never sent on to another place
    return "malformed"


def parse_json(reply: Reply) -> Any:
    """The JSON value of an answer, or None where there is none: wrong content type, not JSON, not
    UTF-8.
    """
    if "json" not in reply.headers.get("content-type", "").lower():
        return None
    try:
        return json.loads(reply.body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the service asks to wait: `Retry-After` as seconds or as an HTTP date,
    `retry-after-ms`. None where it says nothing.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "").strip()) * unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    try:
        then = parsedate_to_datetime(headers.get("retry-after", "")).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    try:
        now = parsedate_to_datetime(
            headers.get("date", "")
        ).timestamp()  # the service's own clock, where it tells the time
    except (ValueError, TypeError, IndexError, OverflowError):
        now = time.time()
    return max(0.0, then - now)


def words(reply: Reply) -> str:
    """What the service says about an error, as it stands in the usual shapes; "" where it says
    nothing readable.
    """
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
