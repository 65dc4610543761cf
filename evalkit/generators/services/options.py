"""Options that both kinds of services have, checked."""

from __future__ import annotations

import json
from typing import Any

from evalkit.core import EvalkitError


def json_object(text: str) -> dict[str, Any]:
    """The option `extra`: further fields of the request, as a JSON object or ""."""
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EvalkitError(
            f"extra is not JSON: {error}.", """For example `--set 'MODEL.extra={"steps": 20}'`."""
        ) from None
    if not isinstance(value, dict):
        raise EvalkitError(
            f"extra is a {type(value).__name__}; expected a JSON object.",
            """For example `{"steps": 20}`.""",
        )
    return value


def check_amounts(timeout: float | None, price: float | None) -> None:
    """The timeout is more than 0 seconds, the price 0 or more US dollars."""
    if timeout is not None and timeout <= 0:
        raise EvalkitError(f"timeout is {timeout!r}; expected more than 0 seconds.")
    if price is not None and price < 0:
        raise EvalkitError(f"price is {price!r}; expected US dollars per image, 0 or more.")
