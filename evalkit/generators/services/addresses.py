"""Which URLs may be fetched, and at which network address: the guard against requests that an
answer smuggles in.

A service may answer with the URL of its picture. Whoever controls that answer chooses where this
machine connects to (server-side request forgery), so such a URL has to name a host that the user or
the recipe has listed, be https, and resolve to public addresses only. The connection is then made
to the address that was checked (`Target.addresses`), so that a name that resolves to something else
a moment later changes nothing (DNS rebinding).
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
    r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::\d{1,5})?|\[[0-9a-f:.]+\](?::\d{1,5})?"
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# What ipaddress of some Python version calls global: protocol assignments (metadata of Oracle's
# cloud), 6to4 relays, the wire server
# of Azure's machines, local NAT64, discard, documentation, segment routing.
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",
            "192.88.99.0/24",
            "168.63.129.16/32",
            "64:ff9b:1::/48",
            "100::/64",
            "3fff::/20",
            "5f00::/16",
        ),
    )
)


class Forbidden(Exception):
    """A URL that is not fetched, and why: a sentence without the URL's path or query, which may
    hold signatures.
    """


class Unresolved(Exception):
    """A host without an address, now: that may be otherwise in a moment."""


class Origin(NamedTuple):
    """What a URL connects to."""

    scheme: str  # "https" or "http"
    host: str  # lower case, without brackets or the final dot
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (
            f"{host}:{self.port}" if self.port != {"https": 443, "http": 80}[self.scheme] else host
        )


class Target(NamedTuple):
    """A URL taken apart, with the addresses to connect to; no addresses: resolve the name when
    connecting.
    """

    origin: Origin
    path: str  # with the query, as it goes into the request line
    addresses: tuple[Address, ...] = ()


def parse(url: str) -> Target:
    """The parts of an absolute http or https URL. Raises Forbidden on anything that two parsers
    might read differently.
    """
    if len(url) > 8192 or re.search(r"[^!-~]|[\\\"<>^`{|}]", url):
        raise Forbidden(
            "the URL holds blanks, control or other characters that no URL may hold, or is too long"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Forbidden("the URL cannot be read") from None
    if parts.scheme not in ("https", "http"):
        raise Forbidden(f"the URL begins with {parts.scheme[:20]!r}; expected https")
    if "@" in parts.netloc:
        raise Forbidden("the URL holds a user name or a password")
    if not _HOST.fullmatch(host) or port == 0:
        raise Forbidden("the URL names no host")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        Origin(
            parts.scheme, host.rstrip(".").lower(), port or {"https": 443, "http": 80}[parts.scheme]
        ),
        path,
    )


def check_patterns(patterns: Sequence[str], place: str) -> tuple[str, ...]:
    """Host patterns of an option or a recipe: `host`, `*.domain.tld`, each with an optional
    `:port`. Raises EvalkitError.
    """
    for pattern in patterns:
        wild = pattern.startswith("*.")
        if not _PATTERN.fullmatch(pattern) or (wild and pattern.count(".") < 2):
            expected = "expected host names such as `images.example.com` or `*.example.com`, with no scheme and no path"
            raise EvalkitError(f"{place} holds {pattern!r}; {expected}.")
    return tuple(patterns)


def allowed(url: str, service: Origin, hosts: Sequence[str]) -> Target:
    """The target of a URL out of an answer, checked and resolved. Raises Forbidden with the reason,
    and Unresolved.

    Allowed are https on the service's own host and on `hosts`, at public addresses. A service that
    the user named by a private or loopback address (`http://127.0.0.1:8000/v1`) may answer with
    URLs of that very address and port too, and with nothing else inside.
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
        raise Forbidden(
            f"the host {origin} is not among those whose pictures are fetched ({', '.join([str(service), *hosts])})"
        )
    addresses = _resolve(origin)
    for address in addresses:
        if not is_public(address):
            raise Forbidden(
                f"the host {origin} resolves to {address}, which is not a public address"
            )
    return Target(origin, target.path, addresses)


def is_public(address: Address) -> bool:
    """Whether an address lies in the public internet, whatever way it is wrapped in IPv6."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:  # how networks without IPv4 reach it
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
    """All addresses of a host; getaddrinfo also reads the odd spellings of IPv4 (0x7f000001,
    2130706433, 127.1).
    """
    try:
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unresolved(f"the host {origin} has no address") from None
    return tuple(dict.fromkeys(ipaddress.ip_address(item[4][0]) for item in found))
