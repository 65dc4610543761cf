"""What every request must satisfy before the page sees it, and headers of every response."""

from __future__ import annotations

import logging
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evalkit.local_address import is_address

log = logging.getLogger(__name__)
BODY_LIMIT = 64 * 1024  # bytes
_METHODS = ("GET", "HEAD", "POST")
_PRIVATE = ("/api/", "/images/", "/static/")  # never asked for by another site
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class RefusedError(Exception):
    """A request that is refused, with a status and one sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message

    def response(self) -> JSONResponse:
        return JSONResponse({"error": self.message}, self.status)


class Guard:
    """Checks Host and Origin, so that no other web page can use the rater's cookie.

    Args:
        app: the page.
        hosts: names in the Host header that are allowed, in lower case and without a port.
        any_address: whether an IP address in the Host header is allowed: a page of another site
            cannot have one, unlike a name, which may be bound to our address.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], any_address: bool = False) -> None:
        self._app, self._hosts, self._any_address = app, hosts, any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, send_guarded)
        except RefusedError as error:
            await error.response()(scope, receive, send_guarded)
        except ClientDisconnect:
            raise
        except Exception:
            log.exception("a request failed")  # it has got its answer

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        method, path = scope["method"], scope["path"]
        if method not in _METHODS:
            raise RefusedError(405, "This method is not allowed.")
        host = headers.getlist("host")
        if len(host) != 1 or not self._is_allowed(host[0]):
            raise RefusedError(403, "The Host header is not one of this server.")
        site = headers.get("sec-fetch-site", "")
        if path.startswith(_PRIVATE) and site not in ("", "same-origin", "none"):
            raise RefusedError(403, "The request comes from another site.")
        if method == "POST":
            origin = urlsplit(headers.get("origin", ""))
            if origin.scheme not in ("http", "https") or origin.netloc.lower() != host[0].lower():
                raise RefusedError(403, "The request comes from another origin.")
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise RefusedError(415, "The body is not application/json.")
            length = headers.get("content-length", "0")
            if not length.isdecimal() or int(length) > BODY_LIMIT:
                raise RefusedError(413, f"The body has more than {BODY_LIMIT} bytes.")

    def _is_allowed(self, host: str) -> bool:
        name = host.lower()
        if not name.endswith("]"):  # [::1] has colons, too
            head, colon, port = name.rpartition(":")
            name = head if colon and port.isdecimal() else name
        return name in self._hosts or (self._any_address and is_address(name.strip("[]")))
