"""The environment of workers of a Ray cluster, as the option `ray.runtime_env` describes it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from evalkit.core import EvalkitError
from evalkit.hints import a_type, did_you_mean

_SECRET = re.compile(r"(key|token|secret|password)s?$", re.IGNORECASE)
_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")  # in a URL
_WRITTEN = "which Ray would write to its storage and logs"


def runtime_env(given: str | Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object, or one in a JSON or YAML file, as Ray takes it.

    Raises EvalkitError for what is none, and for secrets in it.
    """
    read = dict(given) if isinstance(given, Mapping) else _read(given)
    _refuse_secrets(read)
    from ray.runtime_env import RuntimeEnv

    for name in read:
        if name not in RuntimeEnv.known_fields:  # Ray ignores it
            raise EvalkitError(
                f"ray.runtime_env has {name!r}, which Ray does not know.",
                did_you_mean(name, [one for one in RuntimeEnv.known_fields if one[0] != "_"]),
                code="engines-17",
            )
    try:
        return dict(RuntimeEnv(**read)) if read else {}
    except Exception as error:  # of many types
        raise EvalkitError(
            f"ray.runtime_env is refused by Ray: {one_line(error)}.",
            "See docs/ray.md for an example.",
            code="engines-18",
        ) from None


def _read(given: str) -> dict[str, Any]:
    import yaml  # Ray requires it

    if not given.strip():
        return {}
    is_text = given.lstrip().startswith("{")
    name = "ray.runtime_env" if is_text else given
    try:
        if is_text:
            found = json.loads(given)
        else:
            with open(given, encoding="utf-8") as file:
                found = yaml.safe_load(file)  # also of JSON
    except OSError as error:
        raise EvalkitError(
            f"ray.runtime_env is {given!r}, which cannot be read: {error.strerror}.",
            "Give a JSON object, or the path of a JSON or YAML file.",
            code="engines-19",
        ) from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        kind = "JSON" if is_text else "JSON or YAML"
        raise EvalkitError(f"{name} is not {kind}: {one_line(error)}.", code="engines-20") from None
    if not isinstance(found, dict):
        raise EvalkitError(
            f"{name} contains {a_type(found)}; expected an object.",
            "See docs/ray.md for an example.",
            code="engines-21",
        )
    return {str(key): value for key, value in found.items()}


def _refuse_secrets(read: Mapping[str, Any]) -> None:
    variables = read.get("env_vars")
    for name in variables if isinstance(variables, Mapping) else ():
        if _SECRET.search(str(name)):
            raise EvalkitError(
                f"ray.runtime_env sets the variable {name}, {_WRITTEN}.",
                "Leave it out, and set it on each node before Ray is started there: workers have"
                " the environment of their node.",
                code="engines-22",
            )
    if _PASSWORD.search(json.dumps(read, default=str)):
        raise EvalkitError(
            f"ray.runtime_env has a URL with a password, {_WRITTEN}.",
            "Leave the password out, and configure it on each node.",
            code="engines-23",
        )


def one_line(error: Exception) -> str:
    """What an exception says, as a part of a sentence."""
    return " ".join(str(error).split()).rstrip(".")
