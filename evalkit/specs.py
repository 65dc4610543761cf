"""How a model is written: `dalle`, `./folder`, `module:attribute`, or `label=` and one of these.

A model of a run is `RUN:LABEL`.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError

Functions = Mapping[str, Callable[..., Any]]  # models given as Python objects, by their text
INSTALLED = "evalkit:"  # `evalkit:dalle` is the installed generator, whatever folders there are
PYTHON = "python:"  # in run.toml, a function that no import finds again
_NAMED = re.compile(r"[A-Za-z][\w.-]+:(?!//)")  # at least two letters: C:/ is a drive
_LABEL = re.compile(r"\w[\w. +-]*")


def split_label(text: str) -> tuple[str, str]:
    """`main=./a` -> ("main", "./a"); ("", text) without a label.

    Raises EvalkitError where a folder has the whole text as its name.
    """
    label, equals, spec = text.partition("=")
    label = label.strip()
    if not equals or not _LABEL.fullmatch(label):
        return "", text
    if os.path.isdir(text):
        raise EvalkitError(
            f"{text!r} is a folder here, and it is also how the model {spec!r} gets the label"
            f" {label!r}.",
            f"Write `./{text}` for the folder, or rename it.",
            code="specs-1",
        )
    if not spec.strip():
        raise EvalkitError(
            f"The model {text!r} has a label and nothing else.",
            f"For example `{label}=./folder`.",
            code="specs-2",
        )
    return label, spec.strip()


def labelled(label: str, spec: str) -> str:
    """The text that `split_label` takes apart."""
    if not _LABEL.fullmatch(label):
        raise EvalkitError(
            f"A model has the label {label!r}; expected letters, digits, blanks, _, -, + and dots.",
            "Choose another label.",
            code="specs-3",
        )
    return f"{label}={spec}"


def split_run(text: str) -> tuple[Path, str]:
    """`reports/main:dalle` -> (reports/main, dalle); the label may be left out."""
    drive, rest = os.path.splitdrive(text)  # C: is no run
    if Path(text).expanduser().exists() or ":" not in rest:
        return Path(text), ""
    path, _, label = rest.rpartition(":")
    return Path(drive + path), label


def split_names(text: str) -> tuple[str, ...]:
    """`fid, kid` -> ("fid", "kid")."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def joined_names(given: str | Sequence[str] | None) -> str | None:
    """The names joined by commas, as a run.toml has them; None for None."""
    return given if given is None or isinstance(given, str) else ",".join(given)


def chosen_names(
    given: str | Sequence[str] | None, option: str, known: Sequence[str] = ()
) -> list[str]:
    """The names that an option gives, as a list or joined by commas; [] for None or ().

    A known name may have commas: the longest one wins, so `a,b, c` is `a,b` and `c` where the run
    has a model `a,b`.

    Raises EvalkitError for a text that names nothing, such as `,`.
    """
    if not isinstance(given, str):
        return list(given or ())
    parts, names = given.split(","), list[str]()
    while parts:
        ends = range(len(parts), 0, -1)
        joined = [",".join(parts[:end]).strip() for end in ends]
        end = next((end for end, name in zip(ends, joined, strict=True) if name in known), 1)
        names.append(",".join(parts[:end]).strip())
        parts = parts[end:]
    if not any(names):
        raise EvalkitError(
            f"`{option} {shlex.quote(given)}` names nothing; expected names joined by commas.",
            f"Leave out {option} for all of them.",
            code="specs-4",
        )
    return [name for name in names if name]


def split_models(text: str) -> tuple[str, ...]:
    """`dalle, main=./a` -> ("dalle", "main=./a"). A folder's path may contain commas.

    Raises EvalkitError where both readings are possible.
    """
    parts = split_names(text)
    spec = split_label(text)[1]
    if "," not in text or not os.path.isdir(os.path.expanduser(spec)):
        return parts
    if all(os.path.isdir(os.path.expanduser(split_label(part)[1])) for part in parts):
        raise EvalkitError(
            f"{text!r} is one folder, and its parts are folders too.",
            "In Python or TOML, write the models as a list.",
            code="specs-5",
        )
    return (text,)


def is_path(spec: str) -> bool:
    """Whether a model or reference is written as a path.

    `name:argument` is not a path, even with a slash (`diffusers:stabilityai/sdxl-turbo`);
    `./name:argument` is one. A folder without a slash is looked up later, beside all names.
    """
    return not _NAMED.match(spec) and ("/" in spec or os.sep in spec or spec in (".", ".."))


def spelled_as_path(path: str) -> str:
    """The path, with `./` in front if it could be taken for a name."""
    return path if is_path(path) else f"./{path}"


def seen_from(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> str:
    """The path relative to a folder, with `/` on every system; on another drive, the whole path."""
    try:
        found = os.path.relpath(path, folder)
    except ValueError:  # Windows: no path leads from one drive to another
        found = os.path.abspath(path)
    return found.replace(os.sep, "/")


def relative_to(folder: str | os.PathLike[str], spec: str) -> str:
    """A path relative to a folder, so that the folder can move; names stay unchanged."""
    if not is_path(spec):
        return spec
    return spelled_as_path(seen_from(os.path.realpath(folder), os.path.realpath(spec)))


def with_path(text: str, change: Callable[[str], str]) -> str:
    """The text of a model with its path changed; names stay unchanged."""
    label, spec = split_label(text)
    if not is_path(spec):
        return text
    changed = spelled_as_path(change(spec))
    return labelled(label, changed) if label else changed


def model_texts(given: object) -> tuple[tuple[str, ...], dict[str, Callable[..., Any]]]:
    """Models as a caller gives them -> their texts, and the callables among them by text.

    Args:
        given: texts joined by commas, a path, a function, a list of these, or a mapping of labels
            to specs.
    """
    if isinstance(given, str):
        return split_models(given), {}
    if isinstance(given, Mapping):
        items = [(str(label), item) for label, item in given.items()]
    elif isinstance(given, Iterable) and not callable(given):
        items = [("", item) for item in given]
    else:
        items = [("", given)]
    texts: list[str] = []
    functions: dict[str, Callable[..., Any]] = {}
    for label, item in items:
        spec = item if isinstance(item, str) else _spec(item)
        texts.append(labelled(label, spec) if label else spec)
        if callable(item):
            functions[texts[-1]] = item
    return tuple(texts), functions


def _spec(item: object) -> str:
    """The text of a path or a callable."""
    if isinstance(item, os.PathLike):
        return spelled_as_path(os.fspath(item))  # never a name
    if not callable(item):
        raise EvalkitError(
            f"A model is {item!r:.80}; expected a name, a folder or a function.",
            "A generator takes prompts and seeds and returns images.",
            code="specs-6",
        )
    named = item if hasattr(item, "__qualname__") else type(item)
    place, name = named.__module__, named.__qualname__
    found: object = sys.modules.get(place)
    for part in name.split("."):
        found = getattr(found, part, None)
    importable = found is item and place != "__main__"
    return f"{place}:{name}" if importable else f"{PYTHON}{place}:{name}"


def default_label(spec: str) -> str:
    """The label of a model that is not a folder and has none."""
    if spec.startswith(PYTHON):
        return spec.rpartition(":")[2].rpartition(".")[2].strip("<>")
    return spec.removeprefix(INSTALLED)


def expanded(path: str) -> str:
    """The path with `~` replaced: a shell does not replace it in quotes or after a comma."""
    return os.path.expanduser(path) if path.startswith("~") else path
