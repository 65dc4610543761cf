"""What came back, turned into one checked RGB image: from base64, from a data URL, from a URL that
is fetched, from plain bytes.

Nothing is decoded before its size is known to be within the limits, and only pixel formats are: no
SVG, no animation, no more than 8 bits per sample (evalkit.images). An image that was asked for is
paid for, so what can go wrong after that is never `transient`: a resend would pay again.
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
from evalkit.generators.services.addresses import Forbidden, Origin, Unresolved, allowed, parse
from evalkit.generators.services.transport import MEBIBYTE, Failed, Limits, Reply, exchange
from evalkit.images import Alpha, decode

SIZE_LIMIT = 48 * MEBIBYTE  # of one picture's file
_FETCH = Limits(total=120.0, size=SIZE_LIMIT)
_REDIRECTS, _TRIES, _PAUSE = 3, 3, 0.5


class Unusable(Exception):
    """There is no image in the answer, and why."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status: Status = status
        self.detail = detail


class Source(NamedTuple):
    """Where pictures may come from: the service itself, and the hosts that its option or recipe
    lists.
    """

    service: Origin
    hosts: Sequence[str] = ()


def checked_alpha(text: str) -> Alpha:
    """The rule for transparent pictures, as an option gives it."""
    rules: dict[str, Alpha] = {"refuse": "refuse", "white": "white", "black": "black"}
    if text not in rules:
        raise EvalkitError(f"alpha is {text!r}; expected refuse, white or black.")
    return rules[text]


def image_of(content: bytes, alpha: Alpha) -> tuple[Image, str]:
    """One picture as RGB, and a note on what was done to it. Raises Unusable("malformed")."""
    if len(content) > SIZE_LIMIT:
        raise Unusable(
            "malformed",
            f"the image has {len(content) >> 20} MiB; expected at most {SIZE_LIMIT >> 20}",
        )
    decoded = decode(content, alpha)
    if isinstance(decoded, str):
        hint = "; the option alpha=white composites it" if "transparent" in decoded else ""
        raise Unusable("malformed", f"the image {decoded}{hint}")
    return decoded.image, decoded.note


def from_base64(text: object, alpha: Alpha) -> tuple[Image, str]:
    """The picture in a base64 text, with or without `data:image/png;base64,` before it. Raises
    Unusable("malformed").
    """
    if not isinstance(text, str):
        raise Unusable("malformed", f"the image is a {type(text).__name__}; expected base64 text")
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
    return image_of(content, alpha)


def from_url(url: object, source: Source, alpha: Alpha) -> tuple[Image, str]:
    """The picture behind a URL out of an answer; a data URL is read as it stands.

    Raises Unusable: "malformed" for a URL that must not be fetched or that holds no picture,
    "ambiguous" where the picture was made but could not be had.
    """
    if not isinstance(url, str):
        raise Unusable("malformed", f"the image URL is a {type(url).__name__}; expected a text")
    if url.startswith("data:"):
        return from_base64(url, alpha)
    return image_of(_fetch(url, source), alpha)


def _fetch(url: str, source: Source) -> bytes:
    """The bytes behind a URL. No credentials are sent. Reading is free and changes nothing, so it
    is tried three times.
    """
    failure = ""
    for attempt in range(_TRIES):
        try:
            reply = _follow(url, source)
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
            if reply.status < 500 and reply.status not in (
                404,
                408,
                425,
                429,
            ):  # 404: some stores show a file a moment late
                break
        if attempt + 1 < _TRIES:
            time.sleep(_PAUSE * 2**attempt)
    raise Unusable("ambiguous", f"the image was made but could not be fetched: {failure}")


def _follow(url: str, source: Source) -> Reply:
    """GET with redirects within one host, each checked anew."""
    first = parse(url).origin
    for _ in range(_REDIRECTS + 1):
        if parse(url).origin != first:
            raise Forbidden(f"{first} redirects to another host")
        target = allowed(url, source.service, source.hosts)
        reply = exchange(
            "GET", target, {"Accept": "image/png, image/jpeg, image/webp"}, None, _FETCH
        )
        if reply.status not in (301, 302, 303, 307, 308):
            return reply
        url = urljoin(url, reply.headers.get("location", ""))
    raise Forbidden(f"{first} redirects more than {_REDIRECTS} times")
