"""Paths into JSON, such as `data[0].b64_json` and `candidates[0].content.parts[*].inlineData`."""

from __future__ import annotations

import re

JsonPath = tuple[str | int | None, ...]  # a key, an index, or None for every item of a list
EXPECTED = "a path of keys and [0], [-1] or [*], such as data[0].url"
_STEP = re.compile(r"(?P<key>[A-Za-z0-9_$-]+)|\[(?P<index>-?\d+|\*)\]")


def parse_path(text: str) -> JsonPath | None:
    """The steps of a path, or None where it is not well formed."""
    steps: list[str | int | None] = []
    at = 0
    while at < len(text):
        if text[at] == "." and at:
            at += 1
        elif at and text[at] != "[":
            return None
        match = _STEP.match(text, at)
        if match is None or (match["index"] and text[at - 1 : at] == "."):
            return None
        index = None if match["index"] in (None, "*") else int(match["index"])
        steps.append(match["key"] or index)
        at = match.end()
    return tuple(steps) or None


def lookup(path: JsonPath, value: object) -> list[object]:
    """Every value at a path, in order. JSON null does not count."""
    found = [value]
    for step in path:
        found = [item for one in found for item in _step(step, one)]
    return [item for item in found if item is not None]


def first_text(paths: tuple[JsonPath, ...], value: object) -> str:
    """The first non-empty string at any of the paths, else ""."""
    found = (item for path in paths for item in lookup(path, value))
    return next((item for item in found if isinstance(item, str) and item), "")


def as_text(value: object) -> str:
    """A JSON value as rules compare it: true, false, numbers and strings as written in JSON."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _step(step: str | int | None, value: object) -> list[object]:
    if step is None:
        return value if isinstance(value, list) else []
    if isinstance(step, int):
        return [value[step]] if isinstance(value, list) and -len(value) <= step < len(value) else []
    return [value[step]] if isinstance(value, dict) and step in value else []
