"""The file of a study, `ratings/<study>.toml`: strict when read, never changed once written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar, get_args, get_type_hints

import tomli_w

from evalkit.core import EvalkitError
from evalkit.files import parse_toml, read_utf8, write_atomically
from evalkit.hints import did_you_mean
from evalkit.ratings.study import Exclusion, Mode, Question, Study
from evalkit.run_folder import Run

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MOST_POINTS = 101  # of a scale: a slider from 0 to 100
_SHOWN = 120  # characters of a value in an error
EXAMPLE = "See docs/ratings/files.md for an example of a study file."
_EXPECTED = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple[str, ...]: "a list of texts",
    tuple[Question, ...]: "a list of tables",
    Exclusion: "a table",
}
Made = TypeVar("Made", Study, Question, Exclusion)


def write_study(run: Run, study: Study) -> Study:
    """Write the study's file and return the study. The same design again changes nothing.

    Raises EvalkitError for a study that is not valid, and for another design under a name that is
    in use, as the answers that exist belong to the design that they were given for.
    """
    check_study(study)
    path = run.study_path(study.study)
    if path.exists():
        known = read_study(run, study.study)
        refuse_other_design(study, known, f"The study {study.study!r} of {run.path}")
        return known
    write_atomically(path, to_toml(study))
    return study


def refuse_other_design(study: Study, known: Study, subject: str) -> None:
    """Raise EvalkitError unless both are one design; `created_at` may differ."""
    for item in fields(Study):
        old, new = getattr(known, item.name), getattr(study, item.name)
        if old != new and item.name != "created_at":
            raise EvalkitError(
                f"{subject} exists with another design: {item.name} is {shown(old)}, not"
                f" {shown(new)}.",
                "A study never changes. Give the new design another name: `--study NAME`.",
                code="ratings-9",
            )


def read_study(run: Run, name: str) -> Study:
    """The study of this name. Raises EvalkitError if the run has none, or if the file is wrong."""
    path = run.study_path(name)
    if not NAME.fullmatch(name) or not os.path.lexists(path):
        known = [file.stem for file in sorted(run.ratings_path.glob("*.toml"))]
        raise EvalkitError(
            f"{run.path} has no study {name!r}.", did_you_mean(name, known), code="ratings-10"
        )
    try:
        text = read_utf8(path)
    except OSError as error:
        raise EvalkitError(
            f"{path} cannot be read: {error.strerror}.", "Restore the file.", code="ratings-11"
        ) from error
    study = from_toml(text, str(path))
    if study.study != name:
        raise EvalkitError(
            f"{path} holds the study {study.study!r}; expected {name!r}.",
            "The name of the file is the name of the study.",
            code="ratings-12",
        )
    return study


def to_toml(study: Study) -> str:
    """The content of the study's file."""
    return tomli_w.dumps(asdict(study), multiline_strings=False)


def from_toml(text: str, source: str = "the study") -> Study:
    """The study of a TOML text. Raises EvalkitError, one sentence, for whatever is wrong in it."""
    try:
        values = parse_toml(text)
    except (ValueError, RecursionError) as error:
        raise EvalkitError(
            f"{source} is not valid TOML: {error}.", EXAMPLE, code="ratings-13"
        ) from error
    return from_values(values, source)


def from_values(values: Any, source: str) -> Study:
    """The study of a table of TOML or JSON, as `from_toml`."""
    if not isinstance(values, Mapping):
        raise EvalkitError(
            f"{source} is {shown(values)}; expected a table.", EXAMPLE, code="ratings-14"
        )
    study = _made(Study, values, source)
    check_study(study, source)
    return study


def check_study(study: Study, source: str = "The study") -> None:
    """Raise EvalkitError for the first field whose value no study can have."""
    rule, points = study.exclude, [len(item.anchors) for item in study.questions]
    scale = study.mode == "scale"
    names = [item.name for item in study.questions]
    letters = "1 to 64 letters, digits, - and _"
    for name, expected, good in (
        ("study", letters, NAME.fullmatch(study.study)),
        ("mode", ", ".join(get_args(Mode)), study.mode in get_args(Mode)),
        ("models", "each label once", _distinct(study.models)),
        ("models", "two or more labels", len(study.models) >= 1 + (study.mode == "pairwise")),
        (
            "prompts",
            "at least one id, and each id once",
            study.prompts and _distinct(study.prompts),
        ),
        ("questions", "at least one, and each name once", names and _distinct(names)),
        ("questions", f"names of {letters}", all(map(NAME.fullmatch, names))),
        ("questions", "a text for each", all(item.text.strip() for item in study.questions)),
        (
            "questions",
            f"2 to {MOST_POINTS} anchors for each question of a scale"
            if scale
            else f"no anchors in the mode {study.mode}",
            all(2 <= count <= MOST_POINTS for count in points) if scale else not any(points),
        ),
        *(
            (name, "a whole number, 0 or more", getattr(study, name) >= 0)
            for name in ("seed", "items_per_rater", "repeat_items", "attention_items")
        ),
        ("exclude", "0 or more for attention_errors", rule.attention_errors >= 0),
        ("exclude", "0 to 1 for repeat_agreement", 0 <= rule.repeat_agreement <= 1),
        ("exclude", "0 or more for fast_ms", rule.fast_ms >= 0),
        ("exclude", "0 to 1 for fast_share", 0 <= rule.fast_share <= 1),
    ):
        if not good:
            found = shown(getattr(study, name))
            raise EvalkitError(
                f"{source} has {name} = {found}; expected {expected}.", EXAMPLE, code="ratings-15"
            )


def _made(kind: type[Made], values: Mapping[str, Any], source: str) -> Made:
    """The dataclass of a table, with every key known and every value of its type."""
    types = get_type_hints(kind)
    for key in values:
        if key not in types:
            raise EvalkitError(
                f"{source} has the unknown key {key!r}.",
                did_you_mean(key, types),
                code="ratings-16",
            )
    try:
        return kind(
            **{key: _value(types[key], value, key, source) for key, value in values.items()}
        )
    except TypeError as error:  # a key without a default is missing
        missing = [item.name for item in fields(kind) if item.name not in values]
        raise EvalkitError(f"{source} has no {missing[0]}.", EXAMPLE, code="ratings-17") from error


def _value(kind: Any, value: Any, key: str, source: str) -> Any:
    """The value of a key as its type. Raises EvalkitError for another type."""
    if kind is Exclusion and isinstance(value, dict):
        return _made(Exclusion, value, f"{key} of {source}")
    if isinstance(value, list):
        of = {tuple[Question, ...]: dict, tuple[str, ...]: str}.get(kind)
        if of and all(isinstance(item, of) for item in value):
            numbered = enumerate(value, 1)
            return tuple(
                _made(Question, item, f"question {number} of {source}") if of is dict else item
                for number, item in numbered
            )
    kind = str if kind == Mode else kind
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    raise EvalkitError(
        f"{source} has {key} = {shown(value)}; expected {_EXPECTED[kind]}.",
        EXAMPLE,
        code="ratings-18",
    )


def _distinct(names: Any) -> bool:
    return len(set(names)) == len(names)


def shown(value: Any) -> str:
    """The value in one line as TOML writes it, cut if it is long."""
    text = _in_toml(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _in_toml(value: Any) -> str:
    if isinstance(value, Exclusion | Question):
        value = asdict(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key} = {_in_toml(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_in_toml, value))}]"
    is_plain = isinstance(value, str | int | float)
    return json.dumps(value, ensure_ascii=False) if is_plain else str(value)
