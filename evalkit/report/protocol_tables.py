"""The nested content of protocol.json and run.toml as flat tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.report.numbers import DASH

SENTENCE = 30  # characters; a list with a longer text gets a table of its own


@dataclass(frozen=True)
class Table:
    """Rows under a title; the first cell of each row is its name."""

    title: str
    columns: Sequence[str]  # without the first one
    rows: Sequence[Sequence[str]]


def tables(
    content: Mapping[str, Any], title: str = "settings", words: Callable[[str], str] = str
) -> list[Table]:
    """One table for the single values, and one for each nested part; what is empty is left out.

    words: a key as the table writes it.
    """
    single = [
        (words(str(key)), text)
        for key, value in content.items()
        if not _nested(value) and (text := _text(value)) != DASH
    ]
    made = [Table(title, ["value"], single)] if single else []
    for key, value in content.items():
        if not _nested(value):
            continue
        name = str(key).replace("_", " ") if title == "settings" else f"{title}: {words(str(key))}"
        numbered = value if isinstance(value, Mapping) else dict(enumerate(value, 1))
        parts = {str(row): item for row, item in numbered.items()}
        if not all(isinstance(item, Mapping) for item in parts.values()):
            made += tables(parts, name, words)
            continue
        columns = list(dict.fromkeys(column for item in parts.values() for column in item))
        rows = [
            (words(row), *(_text(item.get(column)) for column in columns))
            for row, item in parts.items()
        ]
        made.append(Table(name, [words(str(column)) for column in columns], rows))
    return made


def _nested(value: Any) -> bool:
    """Whether a value has a table of its own: a table, a list of tables, or several sentences."""
    if isinstance(value, list):
        texts = [item for item in value if isinstance(item, str)]
        sentences = len(texts) > 1 and max(map(len, texts)) > SENTENCE
        return sentences or any(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping) and bool(value)


def _text(value: Any) -> str:
    if value in (None, "", [], {}):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value):
        return ", ".join(map(_text, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_text(item)}" for key, item in value.items())
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
