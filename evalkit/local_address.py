"""Where a local server listens, and under which names it answers."""

from __future__ import annotations

import ipaddress
import socket

from evalkit.core import EvalkitError

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")  # as in a Host header
WILDCARDS = ("0.0.0.0", "::")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 chooses a free one. Raises EvalkitError if there is none."""
    if not 0 <= port <= 65535:
        raise EvalkitError(f"The port is {port}; expected 0 to 65535.", code="local_address-1")
    # As is_loopback assumes; a hosts file may say something else.
    address = "127.0.0.1" if host.lower() == "localhost" else host
    try:
        family, _, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place[:2], family=family, backlog=128)
    except OSError as error:
        hint = "Choose another --port, or `--port 0` for a free one." if port else "Check --host."
        raise EvalkitError(
            f"Cannot listen on {host} port {port}: {error.strerror or error}.",
            hint,
            code="local_address-2",
        ) from error


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach the address."""
    return host.lower() == "localhost" or (
        is_address(host) and ipaddress.ip_address(host).is_loopback
    )


def is_address(host: str) -> bool:
    """Whether it is an IP address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def in_url(host: str) -> str:
    """The host as it stands in a URL and in a Host header."""
    return f"[{host}]" if ":" in host else host
