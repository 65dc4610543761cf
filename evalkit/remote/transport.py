"""One HTTP exchange: one request, at most one answer, with limits on time and size.

urllib3 connects, opens the proxy tunnel, formats the request and decodes the answer. This module
adds TLS, a limit on the total time, and a status for each error:

    what happened                                                 Failed.status
    no address, refused, connect time-out, TLS handshake failed   transient (nothing was sent)
    connection lost before the whole request was sent             transient (the service cannot have
                                                                  read the whole request)
    connection lost or time-out after that                        ambiguous (the service may have
                                                                  made and charged the image)
    the answer is not HTTP, or is larger than the limit           malformed (the service accepted
                                                                  the request)

Every exchange opens a connection of its own. A handshake is short compared with the seconds that an
image takes, and a request can then never fail because the server closed an idle connection, which
would look like a request that was accepted and charged. There are no retries and no redirects.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, NamedTuple, cast

from urllib3.connection import HTTPConnection
from urllib3.exceptions import DecodeError, HTTPError, InvalidHeader, ReadTimeoutError
from urllib3.response import HTTPResponse

from evalkit.core import DISTRIBUTION, Status
from evalkit.remote.addresses import Target
from evalkit.remote.proxy import proxy_for

MEBIBYTE = 2**20


class Limits(NamedTuple):
    """Limits of one exchange. Times are seconds; resolving the name does not count."""

    total: float  # for the whole exchange
    size: int = 64 * MEBIBYTE  # of the body: base64 of 48 MiB, more than any service sends today
    connect: float = 10.0  # for one attempt to connect
    idle: float = 60.0  # between two parts of an answer


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class Failed(Exception):
    """There is no usable answer. The detail is one sentence without keys and headers."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status: Status = status
        self.detail = detail


def exchange(
    method: str, target: Target, headers: Mapping[str, str], body: bytes | None, limits: Limits
) -> Reply:
    """Send one request once and read the whole answer. Raises Failed."""
    until = time.monotonic() + limits.total
    place = str(target.origin)
    sent_headers = {
        "Host": place,
        "User-Agent": f"evalkit/{version(DISTRIBUTION)}",
        "Accept-Encoding": "identity",
        "Connection": "close",
        **headers,
    }
    with contextlib.closing(_connect(target, limits)) as connection:
        connection.timeout = max(0.001, until - time.monotonic())
        try:
            connection.request(method, target.path, body, sent_headers, preload_content=False)
        except OSError as error:
            reason = f"the connection to {place} was lost while sending ({_reason(error)})"
            raise Failed("transient", reason) from None
        except ValueError:
            raise Failed(
                "bad_request", "a header contains characters that are not allowed"
            ) from None
        return _answer(connection, place, limits, until)


def _connect(target: Target, limits: Limits) -> HTTPConnection:
    """A connection to the first of the target's addresses that can be reached."""
    origin = target.origin
    proxy = proxy_for(origin)
    failure: Exception | None = None
    for host in [str(address) for address in target.addresses] or [origin.host]:
        place = proxy.place if proxy else (host, origin.port)
        connection = HTTPConnection(*place, timeout=limits.connect)
        if proxy:
            connection.set_tunnel(host, origin.port, proxy.headers)
        try:
            connection.connect()
            if origin.scheme == "https":
                # urllib3's HTTPSConnection changes the shared context for every connection, which
                # can crash with several threads (python/cpython#141012).
                connection.sock = tls_context().wrap_socket(
                    connection.sock, server_hostname=origin.host
                )
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            connection.close()
            failure = error
        else:
            return connection
    raise Failed("transient", f"no connection to {origin} ({_reason(failure)})")


@functools.cache
def tls_context() -> ssl.SSLContext:
    """The system's certificates; SSL_CERT_FILE names others. TLS 1.2 or later."""
    return ssl.create_default_context()


class _Deadline(io.RawIOBase):
    """The bytes that arrive before a deadline, however slowly a server sends them."""

    def __init__(self, connection: socket.socket, until: float, idle: float) -> None:
        self.connection, self.until, self.idle = connection, until, idle
        self.raw = connection.makefile("rb", buffering=0)
        self.begun = self.ended = False

    def makefile(self, mode: str) -> io.BufferedReader:  # what http.client asks a socket for
        return io.BufferedReader(self, 65536)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(min(left, self.idle) if self.begun else left)
        count = self.raw.readinto(buffer) or 0
        self.begun, self.ended = True, count == 0
        return count

    def close(self) -> None:
        self.raw.close()
        super().close()


def _answer(connection: HTTPConnection, place: str, limits: Limits, until: float) -> Reply:
    incoming: Any = _Deadline(connection.sock, until, limits.idle)
    with contextlib.ExitStack() as stack:  # closes the answer, also where urllib3 rejects it

        def limited(_: object, **options: Any) -> http.client.HTTPResponse:
            return stack.enter_context(http.client.HTTPResponse(incoming, **options))

        connection.response_class = cast(Any, limited)
        try:
            response = connection.getresponse()
        except (OSError, HTTPError, http.client.HTTPException, ValueError) as error:
            if incoming.ended and not isinstance(error, OSError):
                error = ConnectionError("cut in the status line")
            raise _lost(error, place, limits) from None
        if incoming.ended:  # http.client accepts headers that were cut
            raise _lost(ConnectionError("cut in the headers"), place, limits)
        body, failure = _body(response, place, limits)
    if failure is not None and response.status < 400:  # for an error, the status is enough
        raise failure
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status, headers, body)


def _body(response: HTTPResponse, place: str, limits: Limits) -> tuple[bytes, Failed | None]:
    """The part of the body that arrived, and why it is not the whole body."""
    too_large = f"the answer of {place} is larger than {limits.size // MEBIBYTE} MiB"
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "", "gzip"):
        found = f"the answer of {place} has the content encoding {encoding[:20]!r}"
        return b"", Failed("malformed", f"{found}; expected none or gzip")
    if (response.length_remaining or 0) > limits.size:
        return b"", Failed("malformed", too_large)
    body = bytearray()
    try:
        while part := response.read1(65536):  # decodes gzip, never to more than this at a time
            body += part
            if len(body) > limits.size:
                return bytes(body), Failed("malformed", too_large)
    except DecodeError:
        return bytes(body), Failed("malformed", f"the gzip answer of {place} is damaged")
    except (HTTPError, ValueError) as error:
        return bytes(body), _lost(error, place, limits)
    return bytes(body), None


def _lost(error: Exception, place: str, limits: Limits) -> Failed:
    if isinstance(error, TimeoutError | ReadTimeoutError):
        reason = f"{place} did not answer in time (limit {limits.total:g} s)"
        return Failed("ambiguous", f"the request was sent, but {reason}")
    not_http = isinstance(error, http.client.HTTPException | InvalidHeader | ValueError)
    if not_http and not isinstance(error, OSError):  # RemoteDisconnected is both
        return Failed("malformed", f"the answer of {place} is not HTTP")
    reason = f"the connection to {place} was lost before the answer ended ({_reason(error)})"
    return Failed("ambiguous", f"the request was sent, but {reason}")


def _reason(error: Exception | None) -> str:
    cause = error.__cause__ or error if error else error  # urllib3 wraps the error of the socket
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {cause.verify_message}"
    if isinstance(cause, TimeoutError):
        return "time-out"
    return str(getattr(cause, "strerror", None) or cause).removesuffix(".")
