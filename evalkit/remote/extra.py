"""The option `extra` of services: further fields of each request."""

from __future__ import annotations

import json
from typing import Any

from evalkit.core import EvalkitError
from evalkit.hints import a_type


def json_object(
    text: str, example: str = """--set 'MODEL.extra={"steps": 20}'"""
) -> dict[str, Any]:
    """The fields in a JSON object, or in "". Raises EvalkitError for anything else.

    example: how the option is typed, for the hint.
    """
    if not text:
        return {}
    hint = f"For example `{example}`."
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EvalkitError(f"extra is not JSON: {error}.", hint, code="remote-13") from None
    if not isinstance(value, dict):
        raise EvalkitError(
            f"extra is {a_type(value)}; expected a JSON object.", hint, code="remote-14"
        )
    return value
