"""Which URLs may be fetched, and at which network address: protection against forged requests.

A service may answer with the URL of its image. Whoever controls that answer chooses where this
machine connects to (server-side request forgery). Such a URL must therefore be https, name a host
that the user or the recipe lists, and resolve to public addresses only. The connection is made to
the address that was checked (`Target.addresses`), so a later change of the name's address has no
effect (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple
from urllib.parse import urlsplit

from evalkit.core import EvalkitError

Address = IPv4Address | IPv6Address
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?|[0-9A-Fa-f:.]+")
_PATTERN = re.compile(
    r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::\d{1,5})?"
    r"|\[[0-9a-f:.]+\](?::\d{1,5})?"
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Some Python versions call these networks global.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments; metadata of Oracle's cloud
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # the wire server of Azure's machines
        "64:ff9b:1::/48",  # local NAT64
        "100::/64",  # discard
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
    )
)
_DEFAULT_PORTS = {"https": 443, "http": 80}


class Forbidden(Exception):
    """A URL that must not be fetched, and why.

    The sentence leaves out the path and query of the URL, which may contain a signature.
    """


class Unresolved(Exception):
    """A host name without an address. This may be temporary."""


class Origin(NamedTuple):
    """What a URL connects to."""

    scheme: str  # "https" or "http"
    host: str  # lower case, without brackets or the final dot
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class Target(NamedTuple):
    """The parts of a URL."""

    origin: Origin
    path: str  # with the query, as in the request line
    addresses: tuple[Address, ...] = ()  # to connect to; () resolves the name when connecting


def parse(url: str) -> Target:
    """The parts of an absolute http or https URL.

    Raises Forbidden for every URL that two parsers might read differently.
    """
    if len(url) > 8192:
        raise Forbidden("the URL is longer than 8192 characters")
    if re.search(r"[^!-~]|[\\\"<>^`{|}]", url):
        raise Forbidden("the URL contains spaces or other characters that are not allowed in URLs")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Forbidden("the URL is not valid") from None
    if parts.scheme not in ("https", "http"):
        raise Forbidden(f"the URL begins with {parts.scheme[:20]!r}; expected https")
    if "@" in parts.netloc:
        raise Forbidden("the URL contains a user name or a password")
    if not _HOST.fullmatch(host) or port == 0:
        raise Forbidden("the URL has no valid host")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    port = port or _DEFAULT_PORTS[parts.scheme]
    return Target(Origin(parts.scheme, host.rstrip(".").lower(), port), path)


def check_patterns(patterns: Sequence[str], place: str) -> tuple[str, ...]:
    """Host patterns, checked: `host` or `*.domain.tld`, with an optional `:port`.

    `place` names the option or the recipe in the error. Raises EvalkitError.
    """
    for pattern in patterns:
        wild = pattern.startswith("*.")
        if not _PATTERN.fullmatch(pattern) or (wild and pattern.count(".") < 2):
            raise EvalkitError(
                f"{place} contains {pattern!r}; expected host names without scheme and path.",
                "For example `images.example.com` or `*.example.com`.",
                code="remote-1",
            )
    return tuple(patterns)


def allowed(url: str, service: Origin, hosts: Sequence[str]) -> Target:
    """The target of a URL from an answer, checked and resolved.

    Allowed is https on the service's own host and on `hosts`, at public addresses. A service that
    the user named by a private or loopback address (`http://127.0.0.1:8000/v1`) may also answer
    with URLs of exactly that address and port. Raises Forbidden and Unresolved.
    """
    target = parse(url)
    origin = target.origin
    if origin == service and _named_private(service.host):
        return Target(origin, target.path, _resolve(origin))
    if origin.scheme != "https":
        raise Forbidden(f"the URL of {origin} is not https")
    own = origin.host == service.host and origin.port == (
        service.port if service.scheme == "https" else 443
    )
    if not own and not any(_matches(origin, pattern) for pattern in hosts):
        listed = ", ".join([str(service), *hosts])
        raise Forbidden(f"the host {origin} is not an allowed image host ({listed})")
    addresses = _resolve(origin)
    for address in addresses:
        if not is_public(address):
            raise Forbidden(
                f"the host {origin} resolves to {address}, which is not a public address"
            )
    return Target(origin, target.path, addresses)


def is_public(address: Address) -> bool:
    """Whether an address is public, also when an IPv4 address is embedded in IPv6."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:  # networks without IPv4 reach IPv4 addresses this way
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address.is_site_local or any(
            item is not None and not is_public(item)
            for item in (address.sixtofour, *(address.teredo or ()))
        ):
            return False
    unusable = (
        address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
    )
    return (
        address.is_global
        and not unusable
        and not any(address in network for network in _NOT_PUBLIC)
    )


def is_loopback(host: str) -> bool:
    """Whether a host as written means this machine: `localhost`, 127.0.0.0/8, ::1."""
    literal = _literal(host)
    return host == "localhost" or (literal is not None and literal.is_loopback)


def _named_private(host: str) -> bool:
    literal = _literal(host)
    return is_loopback(host) or (
        literal is not None and literal.is_private and not literal.is_link_local
    )


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _matches(origin: Origin, pattern: str) -> bool:
    name, _, port = (
        pattern.rpartition(":") if re.search(r":\d+$", pattern) else (pattern, "", "443")
    )
    name = name.strip("[]")
    if origin.port != int(port):
        return False
    return origin.host.endswith(name[1:]) if name.startswith("*.") else origin.host == name


def _resolve(origin: Origin) -> tuple[Address, ...]:
    """All addresses of a host. getaddrinfo also reads 0x7f000001, 2130706433 and 127.1."""
    try:
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unresolved(f"the host {origin} has no address") from None
    return tuple(dict.fromkeys(ipaddress.ip_address(item[4][0]) for item in found))
