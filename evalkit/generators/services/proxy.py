"""The way out through an HTTP proxy, where HTTPS_PROXY names one: a tunnel (CONNECT) to the address
that was checked.
"""

from __future__ import annotations

import base64
import socket
import urllib.request
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from evalkit.core import EvalkitError
from evalkit.generators.services.addresses import Origin


class Proxy(NamedTuple):
    place: tuple[str, int]
    header: str  # Proxy-Authorization with its line end, or ""

    def __repr__(self) -> str:  # the header may hold a password
        return f"Proxy({self.place})"


def proxy_of(origin: Origin) -> Proxy | None:
    """The proxy for https to this host, as HTTPS_PROXY and NO_PROXY say. Plain http (this machine,
    the local network) goes straight.
    """
    if origin.scheme != "https":
        return None
    given = urllib.request.getproxies().get("https", "")
    if not given or urllib.request.proxy_bypass(str(origin)):
        return None
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    if parts.scheme != "http" or not host:
        raise EvalkitError(
            "HTTPS_PROXY is not the address of an HTTP proxy; expected http://host:port.",
            "Set it again, or unset it.",
        )
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    header = (
        f"Proxy-Authorization: Basic {base64.b64encode(login.encode()).decode()}\r\n"
        if login
        else ""
    )
    return Proxy((host, port or 80), header)


def tunnel(connection: socket.socket, through: Proxy, host: str, port: int) -> None:
    """Ask the proxy for a connection to host:port. Raises OSError where it declines."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    connection.sendall(
        f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{through.header}\r\n".encode("latin-1")
    )
    answer = b""
    while b"\r\n\r\n" not in answer:  # byte by byte: what follows belongs to the TLS handshake
        byte = connection.recv(1)
        if not byte or len(answer) > 16_384:
            raise OSError("the proxy closed the connection")
        answer += byte
    words = answer.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(words) < 2 or words[1] != b"200":
        raise OSError(
            f"the proxy declines with HTTP {words[1].decode('latin-1')[:3] if len(words) > 1 else '?'}"
        )
