"""The base URL of a service with an API of OpenAI, and the key that it gets."""

from __future__ import annotations

from evalkit.core import EvalkitError
from evalkit.remote.addresses import Forbidden, Target, is_loopback, parse
from evalkit.remote.keys import Key, read_key

DEFAULT_URL = "https://api.openai.com/v1"


def base_of(url: str, endpoint: str, example: str, query: str = "") -> Target:
    """The parts of a base URL. An error does not repeat a URL that may contain a password.

    Args:
        endpoint: what is added to it, such as "/images/generations".
        example: the hint of an error: how the base URL is given.
        query: the hint where the URL has a query.
    """
    try:
        base = parse(url)
    except Forbidden as error:
        raise EvalkitError(
            f"base_url is not usable: {error}; expected https://host/v1.", example, code="remote-2"
        ) from None
    if "?" in base.path or "#" in url:
        raise EvalkitError(
            f"base_url {url.partition('?')[0]} has a query; expected none.",
            query or example,
            code="remote-3",
        )
    if base.path.rstrip("/").endswith(endpoint):
        raise EvalkitError(
            f"base_url {url} is the endpoint; expected the part before {endpoint}.",
            example,
            code="remote-4",
        )
    return base


def key_for(name: str, base: Target, given: bool, hint: str) -> Key | None:
    """The key for a service, or None. A key is never sent unencrypted to another machine.

    Args:
        name: of the environment variable; "none" for no key, "" for the default.
        given: whether the user gave the URL.
        hint: how the variable is named.
    """
    host, local = base.origin.host, is_loopback(base.origin.host)
    if name == "none" or (not name and local):
        return None
    if not name and given and not (host == "api.openai.com" or host.endswith(".openai.com")):
        raise EvalkitError(
            f"The service {host} is not OpenAI; expected the option api_key_env.",
            hint,
            code="remote-5",
        )
    key = read_key(name or "OPENAI_API_KEY", host)
    if base.origin.scheme == "http" and not local:
        raise EvalkitError(
            f"base_url is http, which would send {key.name} to {host} unencrypted; expected https.",
            "Use an https address, or set api_key_env=none to send no key.",
            code="remote-6",
        )
    return key
