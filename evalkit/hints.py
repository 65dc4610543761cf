"""The words of errors: counts, types, the nearest known name, and the form of hints for Python.

Hints are written for the command line:

    `evalkit weights fetch clip-b32`  ->  `evalkit.weights_fetch("clip-b32")`
    `--set dalle.temperature=0.9`     ->  `options={"dalle": {"temperature": 0.9}}`
    Choose another --out.             ->  Choose another `out`.

Each command is a function of the same name, and each option a parameter, so no table is needed.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

GROUPS = ("baseline", "export", "list", "rate", "reference", "weights")  # commands of two words
BELOW = {"gate": ("selftest",)}  # commands of two words beside one of the first word alone
PRINTING = ("json", "open", "debug")  # options of the command line only
_CODE_OR_FLAG = re.compile(r"`([^`]+)`|(?<![\w`-])--([a-z][a-z-]*)")
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*|…")  # FILE; the reader fills it in
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def plural(count: int, one: str, many: str = "") -> str:
    """1 image, 2 images."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def a_type(value: object) -> str:
    """The type of a value with its article: a list, an int; None."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The hint on a wrong name: the nearest known name, else all known names."""
    known = sorted(set(known))
    return nearest(name, known) or f"Known: {', '.join(known) or 'none'}."


def nearest(name: str, known: Iterable[str]) -> str:
    """The nearest known name, "" if none is near; for messages that list all of them."""
    if len(begun := [one for one in sorted(set(known)) if name and one.startswith(f"{name}-")]) > 1:
        return f"Did you mean one of {', '.join(begun)}?"
    close = difflib.get_close_matches(name, sorted(set(known)), 1)
    return f"Did you mean {close[0]!r}?" if close else ""


def in_python(hint: str) -> str:
    """The hint with Python calls and parameters in place of commands and options."""
    return _CODE_OR_FLAG.sub(_translated, hint)


def _translated(found: re.Match[str]) -> str:
    code, flag = found.groups()
    if flag:
        return f"`{_parameter(flag)}`"
    try:
        words = shlex.split(code)
    except ValueError:  # not a command line
        return found[0]
    if words[0] == "evalkit" and len(words) > 1:
        return f"`{_call(words[1:])}`"
    return f"`{', '.join(_parameters(words))}`" if words[0].startswith("--") else found[0]


def _call(words: Sequence[str]) -> str:
    """`weights fetch a b` as a call; all words without an option are its one first argument."""
    two = words[0] in GROUPS or (len(words) > 1 and words[1] in BELOW.get(words[0], ()))
    name = "_".join(words[: 1 + two]).replace("-", "_")
    rest = list(words[1 + two :])
    count = next((place for place, word in enumerate(rest) if word.startswith("--")), len(rest))
    given = [_value(word) for word in rest[:count]]
    first = given if len(given) < 2 else [f"[{', '.join(given)}]"]
    return f"evalkit.{name}({', '.join([*first, *_parameters(rest[count:])])})"


def _parameters(words: Sequence[str]) -> Iterator[str]:
    """`--per-prompt 2 --set a.b=1` as `per_prompt=2` and `options={"a": {"b": 1}}`."""
    options: dict[str, dict[str, str]] = {}
    for place, word in enumerate(words):
        if not word.startswith("--") or word[2:] in PRINTING:
            continue
        value = " ".join(words[place + 1 : place + 2])
        if word == "--set" and "=" in value:
            name, _, value = value.partition("=")
            label, _, option = name.rpartition(".")
            options.setdefault(label, {})[option] = value
        elif value and not value.startswith("--"):
            yield f"{_parameter(word)}={_value(value)}"
        else:
            yield _parameter(word) if len(words) == 1 else f"{_parameter(word)}=True"
    if options:
        yield f"options={_table(options)}"


def _parameter(flag: str) -> str:
    return "options" if flag in ("set", "--set") else flag.lstrip("-").replace("-", "_")


def _value(text: str) -> str:
    if _PLACEHOLDER.fullmatch(text) or _NUMBER.fullmatch(text):
        return text.replace("…", "...")
    return {"true": "True", "false": "False"}.get(text, json.dumps(text, ensure_ascii=False))


def _table(value: Any) -> str:
    if not isinstance(value, dict):
        return _value(value)
    return f"{{{', '.join(f'{json.dumps(key)}: {_table(value[key])}' for key in value)}}}"
