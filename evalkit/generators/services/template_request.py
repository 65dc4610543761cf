"""The request of a template: placeholders in the URL and the body, further fields, and forms."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

NAMES = ("prompt", "seed", "width", "height", "size", "model")  # of placeholders
PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")


def filled(value: Any, places: Mapping[str, Any]) -> Any:
    """A body with every {placeholder} replaced once; a replacement is not searched again.

    A string that is one placeholder only takes the type of its value: "{seed}" becomes a number.
    """
    if isinstance(value, dict):
        return {key: filled(item, places) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, places) for item in value]
    if not isinstance(value, str):
        return value
    whole = PLACEHOLDER.fullmatch(value)
    if whole and whole[1] in places:
        return places[whole[1]]
    return PLACEHOLDER.sub(lambda match: str(places.get(match[1], match[0])), value)


def filled_url(url: str, places: Mapping[str, Any]) -> str:
    """A URL with every {placeholder} replaced and quoted; "" where a value is not known."""

    def quoted(match: re.Match[str]) -> str:
        text = str(places.get(match[1], ""))
        if match[1] != "model":
            return quote(text, safe="")
        # A model may contain slashes, but "." and ".." must not change the path.
        parts = (part if part.strip(".") else "" for part in text.split("/"))
        return "/".join(quote(part, safe=":@") for part in parts)

    return PLACEHOLDER.sub(quoted, url)


def merged(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """A body with further fields: tables are merged, other values are replaced."""
    result = dict(base)
    for key, value in extra.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def multipart(fields: Mapping[str, Any]) -> tuple[str, bytes]:
    """The content type and the bytes of a form."""
    boundary = secrets.token_hex(24)
    parts = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    content = f"{''.join(parts)}--{boundary}--\r\n".encode("utf-8", "replace")
    return f"multipart/form-data; boundary={boundary}", content
