"""One HTTP exchange: one request, at most one answer, with limits on time and size, and a plain
word for whatever goes wrong.

Every exchange has a connection of its own. That costs a handshake, small beside the seconds that a
picture takes, and buys
certainty: no request is ever lost because an idle connection was closed by the other side just
then, which nobody could tell from a request that was taken and charged for.

    what happened                                                    Failed.status
    no address, refused, connect time-out, TLS handshake failed      transient   nothing was sent
    connection lost before the last byte of the request had left     transient   the service cannot
    have read the whole request connection lost or time-out after that, before the answer ended
    ambiguous   it may have been taken, made and charged an answer that is no HTTP, or is larger
    than the limit           malformed   it was taken; the answer is of no use
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import socket
import ssl
import time
import zlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, NamedTuple, cast

from evalkit.core import Status
from evalkit.generators.services.addresses import Target
from evalkit.generators.services.proxy import proxy_of, tunnel

MEBIBYTE = 2**20


class Limits(NamedTuple):
    """total: seconds for the whole exchange, name look-up aside; connect: for the connection; idle:
    between two pieces of an answer.
    """

    total: float
    size: int = (
        64 * MEBIBYTE
    )  # of the answer's body: base64 of 48 MiB, more than any picture of a service today
    connect: float = 10.0
    idle: float = 60.0


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class Failed(Exception):
    """There is no answer to work with. The detail is one sentence without keys and headers."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status: Status = status
        self.detail = detail


def exchange(
    method: str, target: Target, headers: Mapping[str, str], body: bytes | None, limits: Limits
) -> Reply:
    """Send one request and read the whole answer. Never sends twice, follows no redirect. Raises
    Failed.
    """
    until = time.monotonic() + limits.total
    place = str(target.origin)
    with contextlib.closing(_connect(target, limits)) as connection:
        message = _request(method, target, headers, body)
        try:
            connection.settimeout(max(0.001, until - time.monotonic()))
            connection.sendall(message)
        except OSError as error:
            raise Failed(
                "transient", f"the connection to {place} was lost while sending ({_reason(error)})"
            ) from None
        return _answer(connection, method, place, limits, until)


def _connect(target: Target, limits: Limits) -> socket.socket:
    origin = target.origin
    through = proxy_of(origin)
    hosts = [str(address) for address in target.addresses] or [origin.host]
    failure: OSError | None = None
    for host in hosts:
        try:
            connection = socket.create_connection(
                through.place if through else (host, origin.port), limits.connect
            )
        except (OSError, UnicodeError) as error:
            failure = error if isinstance(error, OSError) else OSError("not a valid host name")
            continue
        try:
            connection.settimeout(limits.connect)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if through:
                tunnel(connection, through, host, origin.port)
            return (
                _context().wrap_socket(connection, server_hostname=origin.host)
                if origin.scheme == "https"
                else connection
            )
        except OSError as error:  # ssl.SSLError is one
            connection.close()
            failure = error
    raise Failed("transient", f"no connection to {origin} ({_reason(failure)})")


@functools.cache
def _context() -> ssl.SSLContext:
    """The system's certificates; SSL_CERT_FILE names others. TLS 1.2 at least."""
    return ssl.create_default_context()


def _request(method: str, target: Target, headers: Mapping[str, str], body: bytes | None) -> bytes:
    lines = {
        "Host": str(target.origin),
        "User-Agent": f"evalkit/{version('evalkit')}",
        "Accept-Encoding": "identity",
        "Connection": "close",
        **headers,
    }
    if body is not None:
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    if head.count("\n") != len(lines) or head.count("\r") != len(lines):
        raise Failed("bad_request", "a header holds a line break")
    return f"{method} {target.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b"")


class _Deadline(io.RawIOBase):
    """The bytes that arrive, until a moment in time: a peer that drips one byte a minute holds
    nobody up.
    """

    def __init__(self, connection: socket.socket, until: float, idle: float) -> None:
        self.connection, self.until, self.idle = connection, until, idle
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
        count = self.connection.recv_into(buffer)
        self.begun, self.ended = True, count == 0
        return count


def _answer(
    connection: socket.socket, method: str, place: str, limits: Limits, until: float
) -> Reply:
    incoming = _Deadline(connection, until, limits.idle)
    response = http.client.HTTPResponse(cast(socket.socket, incoming), method=method)
    with contextlib.closing(response):
        try:
            response.begin()
            if incoming.ended:  # http.client takes half of the headers for all of them
                raise ConnectionError("cut in the headers")
        except (OSError, http.client.HTTPException, ValueError) as error:
            cut = incoming.ended and not isinstance(error, OSError)
            raise _lost(
                ConnectionError("cut in the status line") if cut else error, place, limits
            ) from None
        headers = {name.lower(): value for name, value in response.getheaders()}
        body, failure = _body(response, place, limits)
    if failure is not None and response.status < 400:  # of an error the status alone says enough
        raise failure
    return Reply(response.status, headers, _unpacked(body, headers, place, limits))


def _body(
    response: http.client.HTTPResponse, place: str, limits: Limits
) -> tuple[bytes, Failed | None]:
    """What came of the body, and why it is not whole."""
    expected = response.length
    large = Failed(
        "malformed", f"the answer of {place} is larger than {limits.size // MEBIBYTE} MiB"
    )
    if expected is not None and expected > limits.size:
        return b"", large
    body = bytearray()
    try:
        while part := response.read(65536):
            body += part
            if len(body) > limits.size:
                return bytes(body), large
    except (OSError, http.client.HTTPException, ValueError) as error:
        return bytes(body), _lost(error, place, limits)
    if expected is not None and len(body) < expected:
        return bytes(body), Failed(
            "ambiguous",
            f"the connection to {place} was lost after {len(body)} of {expected} bytes of the answer",
        )
    return bytes(body), None


def _lost(error: Exception, place: str, limits: Limits) -> Failed:
    if isinstance(error, TimeoutError):
        return Failed(
            "ambiguous",
            f"the request was sent, but {place} did not answer in time (limit {limits.total:g} s)",
        )
    if isinstance(
        error, OSError | http.client.IncompleteRead
    ):  # RemoteDisconnected is an OSError too
        reason = _reason(error) if isinstance(error, OSError) else "cut in the middle"
        return Failed(
            "ambiguous",
            f"the request was sent, but the connection to {place} was lost before the answer ended ({reason})",
        )
    return Failed("malformed", f"what {place} answers is no HTTP")


def _unpacked(body: bytes, headers: Mapping[str, str], place: str, limits: Limits) -> bytes:
    """Some gateways compress though none was asked for. Unpacked to the same limit of size."""
    packing = headers.get("content-encoding", "identity").lower()
    if packing in ("identity", ""):
        return body
    try:
        if packing != "gzip":
            raise Failed(
                "malformed",
                f"the answer of {place} is packed as {packing[:20]!r}, which was not asked for",
            )
        plain = zlib.decompressobj(31).decompress(body, limits.size + 1)
    except zlib.error:
        raise Failed("malformed", f"the packed answer of {place} is damaged") from None
    if len(plain) > limits.size:
        raise Failed(
            "malformed", f"the answer of {place} is larger than {limits.size // MEBIBYTE} MiB"
        )
    return plain


def _reason(error: OSError | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "time-out"
    return str(getattr(error, "strerror", None) or error).removesuffix(".")
