"""Models: specs to generators with their options, found at once and loaded when they are used.

A spec is an entry-point name, `name:argument`, `package.module:attribute`, or a folder: of images,
or of a diffusers pipeline. `openai:gpt-image-2` is the generator `openai` with the argument as its
first option. A name that is also a folder is refused.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalkit.code_hash import code_hash
from evalkit.config import Value
from evalkit.core import EvalkitError, Generator, Request
from evalkit.hints import a_type, did_you_mean
from evalkit.plugin_calls import is_own, named
from evalkit.plugins.importing import entries, find, import_object, split
from evalkit.plugins.labels import labels_of
from evalkit.plugins.options import (
    BOUND,
    call,
    checked_options,
    is_generator,
    is_text,
    parameters,
    with_argument,
)
from evalkit.specs import PYTHON, Functions, is_path

FOLDER = "evalkit.generators.folder:load"
PIPELINE = "diffusers"  # the generator of a folder with a model_index.json
# Draw the bundled data set, not photos. With weights of the user's own, a model is not bundled.
BUNDLED = ("dalle", "gan", "noise")


@dataclass(frozen=True)
class Model:
    """A generator that is found but not yet loaded."""

    label: str
    spec: str  # as given; a folder as its real path
    target: Any  # the factory, or the generator itself
    options: dict[str, Value]  # every declared option with its value
    bundled: bool = False  # one of evalkit's own models with the weights of the package
    pipeline: bool = False  # a folder of a diffusers pipeline
    code: str = ""  # hash of the source of a plain function: other code makes other images


def models(
    texts: Sequence[str],
    options: Mapping[str, Mapping[str, Value]],
    known: Mapping[str, str] | None = None,
    functions: Functions | None = None,
) -> list[Model]:
    """Find every generator and check its options, without loading any.

    Args:
        texts: specs, with or without `label=`.
        options: by label.
        known: label -> spec (folders: real paths) of the models that an existing run has.
        functions: the models that are Python objects, by their text.
    """
    functions = functions or {}
    labels = labels_of(texts, known or {}, functions)
    for label in options:
        if label not in labels:
            raise EvalkitError(
                f"Options are given for {label!r}, which is not among the models.",
                did_you_mean(label, labels),
                code="plugins-11",
            )
    return [
        _model(label, spec, options.get(label, {}), functions.get(text))
        for (label, spec), text in zip(labels.items(), texts, strict=True)
    ]


def _model(label: str, spec: str, given: Mapping[str, Value], function: Any) -> Model:
    folder = function is None and is_path(spec)
    name, argument = (spec, "") if folder else split(spec)
    pipeline = folder and os.path.isfile(os.path.join(spec, "model_index.json"))
    if function is not None:
        target = function
    elif spec.startswith(PYTHON):
        raise EvalkitError(
            f"The model {label!r} is a Python function, which only its own program has.",
            "Give it to evalkit.run again, or move it to a module and write `module:function`.",
            code="plugins-12",
        )
    elif pipeline:
        target = find("generator", PIPELINE)
    else:
        target = import_object("generator", spec, FOLDER) if folder else find("generator", name)
    if not callable(target):
        raise EvalkitError(
            f"The generator {spec!r} is {a_type(target)}; expected a function.",
            code="plugins-13",
        )
    argument = spec if pipeline else argument
    if argument:
        given = with_argument(target, name, argument, given)
    if not is_generator(target) and inspect.isfunction(target):
        names = [p.name for p in parameters(target).values() if p.default is p.empty]
        # A function that loads a model has other required parameters, its options.
        draws = function is not None or {"prompt", "prompts", "seed", "seeds"} & set(names)
        if names and draws and not set(BOUND) & set(names):
            raise EvalkitError(
                f"The function {label!r} takes {', '.join(names)}; expected a"
                " function of prompts and seeds that returns images.",
                "For example `def generate(prompts, seeds): ...`.",
                code="plugins-14",
            )
    values = checked_options(target, given, label)
    if pipeline:
        del values["model"]  # it is the spec, which run.toml holds relative to the run folder
    code = code_hash(target) if is_generator(target) else ""
    return Model(label, spec, target, values, _bundled(name, values), pipeline, code)


def _bundled(name: str, values: Mapping[str, Value]) -> bool:
    """Whether this is one of evalkit's own models with the weights of the package."""
    entry = entries("generator").get(name)
    ours = entry is not None and entry.module.startswith("evalkit.")
    return name in BUNDLED and ours and not values.get("weights")


def load_generator(model: Model, device: str, requests: Sequence[Request]) -> Generator:
    """Load a generator, with the device and, if it declares them, all requests and the folder."""
    if is_generator(model.target):
        return _checked_generator(model.target, model.label)
    if not is_own(model.target):  # copies, since other models have the same requests
        requests = [replace(one, prompt=replace(one.prompt)) for one in requests]
    bound = {"device": device, "requests": requests, "folder": model.spec}
    if model.pipeline:
        bound["model"] = model.spec
    try:
        found = call(model.target, model.label, model.options, bound)
    except EvalkitError as error:
        if model.pipeline or not os.path.isdir(model.spec):
            raise
        raise _of_folder(error, model) from error
    return _checked_generator(found, model.label)


def _checked_generator(found: Any, label: str) -> Any:
    """The generator or service itself. Raises EvalkitError unless its attributes are as stated."""
    wrong = ""
    with named(found, f"The model {label!r} failed"):
        if not callable(found) and not callable(getattr(found, "request", None)):
            wrong = f"is {a_type(found)}; expected a function of prompts and seeds"
        for name, (expected, good) in _ATTRIBUTES.items():
            value = getattr(found, name, None)
            if value is not None and not good(value):
                wrong = f"has {name} = {value!r:.80}; expected {expected}"
    if wrong:
        raise EvalkitError(
            f"The model {label!r} {wrong}.", "See docs/plugins/generator.md.", code="plugins-15"
        )
    return found


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return isinstance(value, dict)


# Optional attributes of a generator (see core.Generator): what is expected, and the check.
_ATTRIBUTES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "fingerprint": ("a text", is_text),
    "settings": ("a dict of texts and numbers", _is_json),
    "peak_memory": ("a method", callable),
    "at_once": ("a whole number", lambda value: isinstance(value, int)),
    "unmatched": ("a text", lambda value: isinstance(value, str)),
    "price": ("a number", lambda value: isinstance(value, int | float)),
}


def _of_folder(error: EvalkitError, model: Model) -> EvalkitError:
    """An error of a folder of images, with the label of the model and its folder."""
    where = model.label if model.spec in error.message else f"{model.label} ({model.spec})"
    hint = re.sub(
        r"--set LABEL\.(\w+=\w+)",
        lambda found: f"--set {shlex.quote(f'{model.label}.{found[1]}')}",
        error.hint,
    )
    return EvalkitError(f"{where}: {error.message}", hint, error.exit_code, code=error.code)
