"""From a spec to an object.

A spec is an entry-point name, `name:argument`, `package.module:attribute`, or a folder: of images,
or of a diffusers pipeline. `openai:gpt-image-2` is the generator `openai` with the argument as its
first option; the name of an installed generator before the colon wins over a module of that name.
A name that is also a folder is refused. Nothing is imported early.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from evalkit.code_hash import code_hash
from evalkit.config import Value
from evalkit.core import Encoder, EvalkitError, Generator, Metric, Request, Unavailable
from evalkit.hints import a_type, did_you_mean
from evalkit.plugin_calls import is_own, named, plugin_call
from evalkit.scorer import LoadedScorer, Scorer
from evalkit.specs import (
    INSTALLED,
    PYTHON,
    Functions,
    default_label,
    is_path,
    split_label,
    split_names,
)

PluginKind = Literal["generator", "encoder", "scorer", "metric", "tracker"]
FOLDER = "evalkit.generators.folder:load"
PIPELINE = "diffusers"  # the generator of a folder with a model_index.json
# Draw the bundled data set, not photos. With weights of the user's own, a model is not bundled.
BUNDLED = ("dalle", "gan", "noise")
_ATTRIBUTE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
# Parameters of a factory that evalkit fills in; they are never options.
BOUND = ("device", "requests", "folder", "cache")
# The packages of modules with other names, among those that evalkit needs.
PACKAGES = {"PIL": "pillow", "cleanfid": "clean-fid", "mlflow": "mlflow-skinny"}
_TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}


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


def names(kind: PluginKind) -> list[str]:
    """The installed plug-ins of a kind, sorted."""
    return sorted(_entries(kind))


def own_names(kind: PluginKind) -> list[str]:
    """The installed plug-ins of a kind that come with evalkit."""
    return [name for name, entry in _entries(kind).items() if entry.module.startswith("evalkit.")]


@functools.cache
def _entries(kind: PluginKind) -> dict[str, EntryPoint]:
    """Entry points by name. Where two distributions use one name, evalkit's own wins."""
    found = sorted(
        entry_points(group=f"evalkit.{kind}s"),
        key=lambda entry: entry.module.startswith("evalkit."),
    )
    return {entry.name: entry for entry in found}


def find(kind: PluginKind, spec: str) -> Any:
    """Import the object of a name or of `package.module:attribute`."""
    entries = _entries(kind)
    if spec in entries:
        return _import(kind, spec, entries[spec].value)
    if _ATTRIBUTE.fullmatch(spec):
        return _import(kind, spec, spec)
    hint = did_you_mean(spec.partition(":")[0], entries)
    if kind != "tracker":  # the hint names all
        hint += f" See `evalkit list {kind}s`."
    raise EvalkitError(f"There is no {kind} {spec!r}.", hint, code="plugins-1")


def _import(kind: PluginKind, spec: str, target: str) -> Any:
    module, _, attribute = target.partition(":")
    local = Path(module.partition(".")[0])
    if local.is_dir() or local.with_suffix(".py").is_file():
        _look_in_current_folder()
    value, absent, missing = None, "", ""
    with plugin_call(module, f"The {kind} {spec!r} cannot be imported"):
        try:
            value = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not error.name:
                raise
            absent = error.name
        for part in () if absent else attribute.split("."):
            if not hasattr(value, part):
                missing = part
                break
            value = getattr(value, part)
    if absent:
        hint = f"Check its spelling; {module}.py is also looked for in the current folder."
        if absent != module:
            hint = f"Install it, for example with `pip install {PACKAGES.get(absent, absent)}`."
        raise EvalkitError(
            f"The {kind} {spec!r} needs the module {absent!r}, which is not installed.",
            hint,
            code="plugins-2",
        )
    _require_current(sys.modules.get(module), module, spec)
    if missing:
        raise _without(missing, value, module, spec)
    return value


_folders: list[str] = []  # of users' modules, which evalkit has added to sys.path


def _look_in_current_folder() -> None:
    """Import from the current folder, too: last, so that its files take no module's place.

    Of several folders in one process, as in a notebook, the current one is the first.
    """
    folder = os.getcwd()
    if folder in _folders and folder in sys.path:
        sys.path.remove(folder)
    elif folder in map(os.path.abspath, sys.path):
        return
    places = [sys.path.index(known) for known in _folders if known in sys.path]
    sys.path.insert(min(places, default=len(sys.path)), folder)
    if folder not in _folders:
        _folders.append(folder)


def _require_current(value: Any, module: str, spec: str) -> None:
    """Refuse a module of another folder, imported before, where the current one has its own."""
    found = getattr(value, "__file__", None)
    place = Path(*module.split("."))
    own = [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
    if not own or not found or os.path.abspath(own[0]) == os.path.abspath(found):
        return
    root = Path(found).absolute().parents[module.count(".") + (Path(found).stem == "__init__")]
    lasting = {os.path.abspath(path) for path in sys.path if path not in _folders}
    if str(root) not in lasting:
        raise EvalkitError(
            f"{spec!r} was imported from {found} before, and this folder has another {own[0]}.",
            "Start Python again in this folder, or rename one of the files.",
            code="plugins-29",
        )


def _without(missing: str, value: Any, module: str, spec: str) -> EvalkitError:
    """The error where a module lacks what a spec names; maybe it is another module of that name."""
    own, found = Path(*module.split(".")).with_suffix(".py"), getattr(value, "__file__", None)
    if own.is_file() and not (found and os.path.exists(found) and own.samefile(found)):
        return EvalkitError(
            f"{spec!r} names the installed module {module}, not {own} of this folder, and that"
            f" module has no {missing!r}.",
            f"Rename {own}.",
            code="plugins-3",
        )
    public = [name for name in dir(value) if not name.startswith("_")]
    hint = did_you_mean(missing, public)
    return EvalkitError(
        f"{module} has no {missing!r}, which {spec!r} names.",
        hint if len(public) < 30 or hint.startswith("Did") else "",
        code="plugins-4",
    )


def metric_names() -> list[str]:
    """All that `--metrics` takes by name: the installed metrics and scorers, sorted."""
    return sorted({*names("metric"), *names("scorer")})


def metric(name: str) -> Metric:
    """The metric of a name, or that of a scorer, also of `scorer:argument`.

    Raises EvalkitError for an unknown name, and for a name that both have.
    """
    name, argument = _split(name, "scorer")
    scored = name in _entries("scorer")
    if scored and name in _entries("metric"):
        raise EvalkitError(
            f"Both a metric and a scorer are installed under the name {name!r}.",
            "Uninstall one of their packages.",
            code="plugins-5",
        )
    found = find("scorer" if scored else "metric", name)
    if isinstance(found, Scorer):
        return _of_argument(found, argument).metric
    if not isinstance(found, Metric):
        raise EvalkitError(
            f"The metric {name!r} is {a_type(found)}; expected an evalkit.Metric or an"
            " evalkit.Scorer.",
            code="plugins-6",
        )
    return found


def _of_argument(scorer: Scorer, argument: str) -> Scorer:
    if not argument:
        return scorer
    if scorer.with_argument is None:
        raise _no_argument(scorer.name, argument)
    with plugin_call(scorer.with_argument, f"The scorer {scorer.name!r} failed"):
        return scorer.with_argument(argument)


def scorer(name: str) -> Scorer:
    """The scorer of a name."""
    found = metric(name).scorer
    if found is None:
        raise EvalkitError(f"{name!r} is a metric; expected a scorer.", code="plugins-7")
    return found


def scorer_names(metrics: str | Sequence[str] | None) -> list[str]:
    """The names of scorers: the installed ones, and those of `module:attribute` and of
    `scorer:argument` in `metrics`.
    """
    texts = split_names(metrics) if isinstance(metrics, str) else metrics or ()
    own = [metric(one) for one in texts if _ATTRIBUTE.fullmatch(one) or _split(one, "scorer")[1]]
    return [*names("scorer"), *(one.scorer.name for one in own if one.scorer is not None)]


def load_scorer(
    scorer: Scorer, given: Mapping[str, Value], device: str, cache: Path
) -> LoadedScorer:
    """A scorer with its options, loaded.

    Raises EvalkitError for an unknown option, and where it cannot be loaded.
    """
    options = checked_options(scorer.load, given, scorer.name, "scorer")
    found = _call(scorer.load, scorer.name, options, {"device": device, "cache": cache})
    with named(found, f"The scorer {scorer.name!r} failed"):
        texts = [getattr(found, field, None) for field in ("name", "fingerprint")]
        good = all(_is_text(text) and text for text in texts) and callable(found)
        at_once = getattr(found, "at_once", None)
        good = good and (at_once is None or (isinstance(at_once, int) and at_once > 0))
    if not good or not re.fullmatch(r"[\w.-]{1,100}", str(texts[0])):
        raise EvalkitError(
            f"The scorer {scorer.name!r} loads {a_type(found)}; expected a LoadedScorer:"
            " a call, a fingerprint, a name of letters, digits, _, - and dots, and a whole number"
            " as at_once, if any.",
            "See docs/plugins/scorer.md.",
            code="plugins-8",
        )
    return found  # pyright: ignore[reportReturnType]


def encoder(name: str, device: str = "auto") -> Encoder:
    """The encoder of a name, or of `name:argument`, with its weights loaded."""
    plain, argument = _split(name, "encoder")
    target = find("encoder", plain)
    options = _with_argument(target, plain, argument, {}) if argument else {}
    found = _call(target, name, options, {"device": device})
    with named(found, f"The encoder {name!r} failed"):
        texts = [getattr(found, field, None) for field in ("name", "fingerprint")]
        functions = [getattr(found, field, None) for field in ("prepare", "__call__")]
    if texts[0] and _is_text(texts[0]) and not re.fullmatch(r"[\w.-]{1,100}", texts[0]):
        raise EvalkitError(
            f"The encoder {name!r} has the name {texts[0]!r:.120}; expected letters, digits, _, -"
            " and dots, 100 at most: files are named by it.",
            "Change its attribute `name`.",
            code="plugins-9",
        )
    if not all(_is_text(text) and text for text in texts) or not all(map(callable, functions)):
        raise EvalkitError(
            f"The encoder {name!r} has the type {type(found).__name__}; expected an object"
            " with the texts name and fingerprint, the method prepare, and a call (core.Encoder).",
            "See docs/plugins/encoder.md.",
            code="plugins-10",
        )
    return found


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
    labels = _labels(texts, known or {}, functions)
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
    name, argument = (spec, "") if folder else _split(spec)
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
        target = _import("generator", spec, FOLDER) if folder else find("generator", name)
    if not callable(target):
        raise EvalkitError(
            f"The generator {spec!r} is {a_type(target)}; expected a function.",
            code="plugins-13",
        )
    argument = spec if pipeline else argument
    if argument:
        given = _with_argument(target, name, argument, given)
    if not _is_generator(target) and inspect.isfunction(target):
        names = [p.name for p in _parameters(target).values() if p.default is p.empty]
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
    code = code_hash(target) if _is_generator(target) else ""
    return Model(label, spec, target, values, _bundled(name, values), pipeline, code)


def _bundled(name: str, values: Mapping[str, Value]) -> bool:
    """Whether this is one of evalkit's own models with the weights of the package."""
    entry = _entries("generator").get(name)
    ours = entry is not None and entry.module.startswith("evalkit.")
    return name in BUNDLED and ours and not values.get("weights")


def load_generator(model: Model, device: str, requests: Sequence[Request]) -> Generator:
    """Load a generator, with the device and, if it declares them, all requests and the folder."""
    if _is_generator(model.target):
        return _checked_generator(model.target, model.label)
    if not is_own(model.target):  # copies, since other models have the same requests
        requests = [replace(one, prompt=replace(one.prompt)) for one in requests]
    bound = {"device": device, "requests": requests, "folder": model.spec}
    if model.pipeline:
        bound["model"] = model.spec
    try:
        found = _call(model.target, model.label, model.options, bound)
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


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return isinstance(value, dict)


# Optional attributes of a generator (see core.Generator): what is expected, and the check.
_ATTRIBUTES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "fingerprint": ("a text", _is_text),
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


def _place(spec: str) -> str:
    """The spec by which a run remembers the model: the real path of a folder, else the name.

    Raises EvalkitError for a name that is also a folder: it could mean either.
    """
    if spec.startswith(INSTALLED):
        return spec.removeprefix(INSTALLED)
    if is_path(spec):
        if os.path.isdir(spec):
            return os.path.realpath(spec)
        if os.path.isfile(spec):
            raise _no_folder(spec)
        raise EvalkitError(
            f"There is no folder {spec}.",
            "Check the path, or see `evalkit list generators` for names.",
            code="plugins-17",
        )
    if not os.path.isdir(spec):
        if os.path.isfile(spec) and _split(spec)[0] not in _entries("generator"):
            raise _no_folder(spec)
        return spec
    if _split(spec)[0] in _entries("generator"):
        raise EvalkitError(
            f"{spec!r} is an installed generator and also a folder here.",
            f"Write `./{spec}` for the folder, or `{INSTALLED}{spec}` for the generator.",
            code="plugins-18",
        )
    return os.path.realpath(spec)


def _no_folder(spec: str) -> EvalkitError:
    return EvalkitError(
        f"{spec} is a file; expected a folder of images or of a diffusers pipeline.",
        "Unpack it first (`evalkit score` reads zip, tar and npz files too).",
        code="plugins-19",
    )


def _split(spec: str, kind: PluginKind = "generator") -> tuple[str, str]:
    """`openai:gpt-image-2` -> ("openai", "gpt-image-2"), if `openai` is an installed plug-in."""
    name, _, argument = spec.partition(":")
    return (name, argument) if argument and name in _entries(kind) else (spec, "")


def _with_argument(
    target: Any, name: str, argument: str, given: Mapping[str, Value]
) -> Mapping[str, Value]:
    """The options, with the argument of `name:argument` as the first, required one."""
    options = [item for item in _parameters(target).values() if item.name not in BOUND]
    first = options[0] if options and not _is_generator(target) else None
    if first is None or first.default is not first.empty:
        raise _no_argument(name, argument)
    if given.get(first.name, argument) != argument:
        raise EvalkitError(
            f"{name}:{argument} is also given {first.name}={given[first.name]!r} as an option.",
            "Give one of the two.",
            code="plugins-20",
        )
    return {**given, first.name: argument}


def _no_argument(name: str, argument: str) -> EvalkitError:
    return EvalkitError(
        f"{name!r} takes no argument; {argument!r} was given.",
        f"Write `{name}`.",
        code="plugins-21",
    )


def _labels(texts: Sequence[str], known: Mapping[str, str], functions: Functions) -> dict[str, str]:
    """label -> spec, with folders as real paths, in the order of the texts.

    A label is given, or that of the same model in the run, or the name, or the last part of a
    folder's path: more of it where that is taken.
    """
    parts = [split_label(text) for text in texts]
    places = [
        spec if text in functions else _place(spec)
        for text, (_, spec) in zip(texts, parts, strict=True)
    ]
    explicit = {label for label, _ in parts if label}
    labelled: dict[str, str] = {}
    given: dict[str, str] = {}  # label -> the text of the user, for the message
    for text, (label, _), place in zip(texts, parts, places, strict=True):
        same = [name for name, spec in known.items() if spec == place and name not in explicit]
        if not label and len(same) > 1 and default_label(place) not in same:
            raise EvalkitError(
                f"The run has the model {text!r} with several labels:"
                f" {', '.join(map(repr, same))}.",
                f"Name one of them: `{same[0]}={text}`.",
                code="plugins-22",
            )
        if not label and same:
            label = default_label(place) if default_label(place) in same else same[0]
        elif not label and is_path(place):
            taken = {*labelled, *places, *known, *explicit}
            folders = Path(place).parts
            longer = ("/".join(folders[-count:]) for count in range(1, len(folders)))
            label = next((item for item in longer if item not in taken), place)
        label = label or default_label(place)
        if known.get(label, place) != place:
            raise EvalkitError(
                f"The model {label!r} of this run is {known[label]}; {text!r} is another one.",
                "Give it another label, or choose another --out.",
                code="plugins-23",
            )
        twice = next(
            (
                name
                for name in given
                if name == label or (labelled[name] == place and not {name, label} & explicit)
            ),
            None,
        )
        if twice is not None:
            raise EvalkitError(
                f"The models {given[twice]!r} and {text!r} have the same label, {twice!r}.",
                "Name each model once, or give labels: `a=SPEC,b=SPEC`.",
                code="plugins-24",
            )
        labelled[label], given[label] = place, text
    return labelled


def _is_generator(target: Any) -> bool:
    """Whether this is `(prompts, seeds) -> images` itself and not a factory of generators.

    A factory has no required positional parameters.
    """
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return (
        sum(
            item.kind in positional and item.default is item.empty
            for item in _parameters(target).values()
        )
        >= 2
    )


def _parameters(target: Any) -> Mapping[str, inspect.Parameter]:
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
    declared = {} if _is_generator(target) else dict(_parameters(target))
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


def _call(
    factory: Any, label: str, options: Mapping[str, Value], bound: Mapping[str, object]
) -> Any:
    accepted = _parameters(factory)
    hint = "" if is_own(factory) else "Correct its code, or leave it out."
    with plugin_call(factory, f"{label!r} could not be loaded", hint):
        return factory(
            **options, **{name: value for name, value in bound.items() if name in accepted}
        )
