"""Paths into a JSON answer: `data[0].b64_json`, `candidates[0].content.parts[*].inlineData.data`."""

from __future__ import annotations

import re

_STEP = re.compile(r"(?P<key>[A-Za-z0-9_$-]+)|\[(?P<index>-?\d+|\*)\]")
Path = tuple[str | int | None, ...]  # a key, an index, or None for every item of a list
FORM = "expected keys joined by dots, with [0], [-1] or [*] for the items of a list, such as data[0].url"


def parse_path(text: str) -> Path | None:
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
        steps.append(
            match["key"] if match["key"] else None if match["index"] == "*" else int(match["index"])
        )
        at = match.end()
    return tuple(steps) or None


def lookup(path: Path, value: object) -> list[object]:
    """Every value at a path, in order; none where the answer has another shape. JSON null counts as
    nothing.
    """
    found = [value]
    for step in path:
        found = [item for one in found for item in _step(step, one)]
    return [item for item in found if item is not None]


def first_text(paths: tuple[Path, ...], value: object) -> str:
    """The first text at any of the paths, "" where there is none."""
    return next(
        (item for path in paths for item in lookup(path, value) if isinstance(item, str) and item),
        "",
    )


def plain(value: object) -> str:
    """A JSON value as rules compare it: true, false, numbers and texts as they are written."""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _step(step: str | int | None, value: object) -> list[object]:
    if step is None:
        return value if isinstance(value, list) else []
    if isinstance(step, int):
        return [value[step]] if isinstance(value, list) and -len(value) <= step < len(value) else []
    return [value[step]] if isinstance(value, dict) and step in value else []
