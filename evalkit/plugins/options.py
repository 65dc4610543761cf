"""The options of a plug-in: the parameters of its function, with the values that were given."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from evalkit.config import Value
from evalkit.core import EvalkitError, Unavailable
from evalkit.hints import did_you_mean
from evalkit.plugin_calls import is_own, plugin_call

# Parameters of a factory that evalkit fills in; they are never options.
BOUND = ("device", "requests", "folder", "cache")
_TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}


def with_argument(
    target: Any, name: str, argument: str, given: Mapping[str, Value]
) -> Mapping[str, Value]:
    """The options, with the argument of `name:argument` as the first, required one."""
    options = [item for item in parameters(target).values() if item.name not in BOUND]
    first = options[0] if options and not is_generator(target) else None
    if first is None or first.default is not first.empty:
        raise no_argument(name, argument)
    if given.get(first.name, argument) != argument:
        raise EvalkitError(
            f"{name}:{argument} is also given {first.name}={given[first.name]!r} as an option.",
            "Give one of the two.",
            code="plugins-20",
        )
    return {**given, first.name: argument}


def no_argument(name: str, argument: str) -> EvalkitError:
    return EvalkitError(
        f"{name!r} takes no argument; {argument!r} was given.",
        f"Write `{name}`.",
        code="plugins-21",
    )


def is_generator(target: Any) -> bool:
    """Whether this is `(prompts, seeds) -> images` itself and not a factory of generators.

    A factory has no required positional parameters.
    """
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return (
        sum(
            item.kind in positional and item.default is item.empty
            for item in parameters(target).values()
        )
        >= 2
    )


def parameters(target: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except Exception as error:  # an object of others may raise anything where it is looked at
        raise EvalkitError(
            f"{target!r} has no readable signature; expected a Python function or class.",
            code="plugins-25",
        ) from error


def checked_options(
    target: Any,
    given: Mapping[str, Value],
    label: str,
    kind: str = "model",
    *,
    partly: bool = False,
) -> dict[str, Value]:
    """Every option that a function or dataclass declares, with the given value or the default.

    Given values are checked against the signature. kind: what the label names, for messages.
    partly: required options may be missing.
    """
    declared = {} if is_generator(target) else dict(parameters(target))
    kinds = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    declared = {
        name: item for name, item in declared.items() if name not in BOUND and item.kind in kinds
    }
    for name in given:
        if name not in declared:
            raise EvalkitError(
                f"The {kind} {label!r} has no option {name!r}.",
                did_you_mean(name, declared),
                code="plugins-26",
            )
    values: dict[str, Value] = {}
    for name, item in declared.items():
        if name in given:
            values[name] = _convert(given[name], item.annotation, f"{label}.{name}")
        elif item.default is item.empty:
            if partly:
                continue
            raise Unavailable(
                f"The {kind} {label!r} needs the option {name!r}.",
                f"Give it: `--set {label}.{name}=…`.",
                code="plugins-27",
            )
        elif isinstance(item.default, Value):
            values[name] = item.default
    return values


def _convert(value: Value, annotation: Any, name: str) -> Value:
    """The value as the annotated type; texts (from --set) are parsed."""
    text = annotation  # a string under `from __future__ import annotations`
    if not isinstance(annotation, str):
        text = getattr(annotation, "__name__", str(annotation))
    wanted = _TYPES.get(text.removesuffix(" | None").strip(), str)
    try:
        if wanted is bool:
            return {"true": True, "false": False}[str(value).lower()]
        if wanted is str:
            if not isinstance(value, str):
                raise TypeError
            return value
        if (
            isinstance(value, bool)
            or (wanted is int and isinstance(value, float))
            or not math.isfinite(number := wanted(value))
        ):
            raise TypeError
        return number
    except (KeyError, TypeError, ValueError, OverflowError):
        kinds = {
            int: "a whole number",
            float: "a finite number",
            bool: "true or false",
            str: "a text",
        }
        raise EvalkitError(
            f"{name} is {value!r}; expected {kinds[wanted]}.",
            f"For example `--set {name}=…`.",
            code="plugins-28",
        ) from None


def call(
    factory: Any, label: str, options: Mapping[str, Value], bound: Mapping[str, object]
) -> Any:
    accepted = parameters(factory)
    hint = "" if is_own(factory) else "Correct its code, or leave it out."
    with plugin_call(factory, f"{label!r} could not be loaded", hint):
        return factory(
            **options, **{name: value for name, value in bound.items() if name in accepted}
        )


def is_text(value: object) -> bool:
    """Whether this may be a name or a fingerprint: a text of one line."""
    return isinstance(value, str) and value.isprintable()
