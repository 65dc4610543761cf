"""The HTTP proxy that HTTPS_PROXY names, for a tunnel (CONNECT) to the address that was checked."""

from __future__ import annotations

import base64
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from evalkit.core import EvalkitError
from evalkit.remote.addresses import Origin


class Proxy(NamedTuple):
    place: tuple[str, int]
    headers: Mapping[str, str]  # Proxy-Authorization where the URL has a login

    def __repr__(self) -> str:  # without the headers, which may contain a password
        return f"Proxy({self.place})"


def proxy_for(origin: Origin) -> Proxy | None:
    """The proxy for a host, by HTTPS_PROXY and NO_PROXY; none for plain http.

    Plain http is used for this machine and the local network only.
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
            "Correct or unset it.",
            code="remote-21",
        )
    headers: dict[str, str] = {}
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    return Proxy((host, port or 80), headers)
