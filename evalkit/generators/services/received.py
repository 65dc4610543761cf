"""The image in an answer, as checked RGB: from base64, a data URL, a URL to fetch, or plain bytes.

The size is checked before anything is decoded, and only pixel formats are decoded: no SVG, no
animation, no more than 8 bits per sample (evalkit.images). The service charges for an image once it
is requested, so an error in this module is never `transient`: sending again would pay again.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urljoin

from PIL.Image import Image

from evalkit.core import EvalkitError, Status
from evalkit.hints import a_type
from evalkit.images import Alpha, decode
from evalkit.remote.addresses import Forbidden, Origin, Unresolved, allowed, parse
from evalkit.remote.transport import MEBIBYTE, Failed, Limits, Reply, exchange

SIZE_LIMIT = 48 * MEBIBYTE  # of one image file
RETRY_PAUSE = 0.5  # seconds before the second attempt to fetch an image; doubles after that
_FETCH_LIMITS = Limits(total=120.0, size=SIZE_LIMIT)
_ACCEPT = {"Accept": "image/png, image/jpeg, image/webp"}
_REDIRECTS, _ATTEMPTS = 3, 3
_TEMPORARY = (404, 408, 425, 429)  # 404: some stores serve a new file only after a moment


class Unusable(Exception):
    """There is no image in the answer, and why."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status: Status = status
        self.detail = detail


class AllowedHosts(NamedTuple):
    """Where images may be fetched: from the service, and from hosts of the option or recipe."""

    service: Origin
    others: Sequence[str] = ()


def checked_alpha(text: str) -> Alpha:
    """The rule for transparent images, as an option gives it."""
    rules: dict[str, Alpha] = {"refuse": "refuse", "white": "white", "black": "black"}
    if text not in rules:
        raise EvalkitError(
            f"alpha is {text!r}; expected refuse, white or black.", code="generators-63"
        )
    return rules[text]


def checked_image(content: bytes, alpha: Alpha) -> tuple[Image, str]:
    """An RGB image, and a note on what was changed. Raises Unusable("malformed")."""
    if len(content) > SIZE_LIMIT:
        found = f"the image has {len(content) >> 20} MiB"
        raise Unusable("malformed", f"{found}; expected at most {SIZE_LIMIT >> 20}")
    decoded = decode(content, alpha)
    if isinstance(decoded, str):
        hint = "; the option alpha=white composites it" if "transparent" in decoded else ""
        raise Unusable("malformed", f"the image {decoded}{hint}")
    return decoded.image, decoded.note


def from_base64(text: object, alpha: Alpha) -> tuple[Image, str]:
    """The image in base64 text or in a base64 data URL. Raises Unusable("malformed")."""
    if not isinstance(text, str):
        raise Unusable("malformed", f"the image is {a_type(text)}; expected base64 text")
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise Unusable("malformed", "the image is a data URL that is not base64")
    if len(text) > SIZE_LIMIT * 1.4:
        raise Unusable("malformed", f"the image has more than {SIZE_LIMIT >> 20} MiB")
    try:
        content = base64.b64decode(re.sub(r"\s", "", text), validate=True)
    except (binascii.Error, ValueError):
        raise Unusable("malformed", "the image is not valid base64") from None
    return checked_image(content, alpha)


def from_url(url: object, hosts: AllowedHosts, alpha: Alpha) -> tuple[Image, str]:
    """The image at a URL from an answer, which may be a data URL.

    Raises Unusable: "malformed" for a URL that must not be fetched or is not an image, "ambiguous"
    where the image was made but cannot be fetched.
    """
    if not isinstance(url, str):
        raise Unusable("malformed", f"the image URL is {a_type(url)}; expected a string")
    if url.startswith("data:"):
        return from_base64(url, alpha)
    return checked_image(_fetch(url, hosts), alpha)


def _fetch(url: str, hosts: AllowedHosts) -> bytes:
    """The bytes at a URL. Sends no credentials. Fetching costs nothing, so failures are retried."""
    failure = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(RETRY_PAUSE * 2 ** (attempt - 1))
        try:
            reply = _follow(url, hosts)
        except Forbidden as error:
            raise Unusable("malformed", f"the image is not fetched: {error}") from None
        except Unresolved as error:
            failure = str(error)
        except Failed as error:
            failure = error.detail
            if error.status == "malformed":
                raise Unusable("malformed", f"the image could not be fetched: {failure}") from None
        else:
            if reply.status == 200:
                return reply.body
            failure = f"HTTP {reply.status}"
            if reply.status < 500 and reply.status not in _TEMPORARY:
                break
    raise Unusable("ambiguous", f"the image was made but could not be fetched: {failure}")


def _follow(url: str, hosts: AllowedHosts) -> Reply:
    """GET with redirects within one host; every new URL is checked."""
    first = parse(url).origin
    for _ in range(_REDIRECTS + 1):
        if parse(url).origin != first:
            raise Forbidden(f"{first} redirects to another host")
        target = allowed(url, hosts.service, hosts.others)
        reply = exchange("GET", target, _ACCEPT, None, _FETCH_LIMITS)
        if reply.status not in (301, 302, 303, 307, 308):
            return reply
        url = urljoin(url, reply.headers.get("location", ""))
    raise Forbidden(f"{first} redirects more than {_REDIRECTS} times")
