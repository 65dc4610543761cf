"""Our own long table, as `evalkit rate export` writes it, and any long table with these columns.

Needed are `rater`, `response`, and either `item` or `prompt_id` (or `prompt`) and `model`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from evalkit.core import EvalkitError
from evalkit.escape import without_guard
from evalkit.rate.answers import NOTHING, Answer, Cell, Clues, Format, Problem, Reading
from evalkit.rate.names import Names
from evalkit.rate.source import LONG_TABLE, Row, Source, text_of
from evalkit.rate.times import iso
from evalkit.ratings.rating import COLUMNS, NUMBERS, Check, RaterKind, parts
from evalkit.ratings.study_file import from_values

_ALL = frozenset(COLUMNS)
_WORDS = {"check": get_args(Check), "kind": ("", *get_args(RaterKind))}


def recognizes(source: Source) -> bool:
    if isinstance(source.top.get("ratings"), list):
        return True
    keys = set(_columns(source.keys).values())
    placed = "item" in keys or ("model" in keys and bool({"prompt_id", "prompt"} & keys))
    return {"rater", "response"} <= keys and placed


def read(source: Source, names: Names) -> Reading:
    reading = Reading()
    rows = source.rows
    if "ratings" in source.top:
        rows = []
        for at, item in enumerate(source.top["ratings"], 1):
            if isinstance(item, Mapping):
                rows.append(Row(f"item {at}", item))
            else:
                cell = Cell("ratings", text_of(item))
                reading.problems.append(source.problem(f"item {at}", cell, "not an object"))
        for values in source.top.get("studies") or ():
            _add_study(source, values, reading)
    columns = _columns(source.keys)
    unread = [name for name in source.columns if columns[name] not in (*COLUMNS, "prompt")]
    if unread:
        reading.notes.append(f"{source.path.name}: not read are the columns {', '.join(unread)}.")
    if any(name != plain for name, plain in columns.items()):
        rows = [
            Row(line, {columns.get(name, name): value for name, value in values.items()})
            for line, values in rows
        ]
    for row in rows:
        found = _answer(source, row, names)
        if isinstance(found, Problem):
            reading.problems.append(found)
        else:
            reading.answers.append(found)
    return reading


def _columns(names: Iterable[str]) -> dict[str, str]:
    """Each name of a column, and what it is for us: `Prompt ID ` is prompt_id."""
    known = {}
    for name in (all_names := tuple(names)):
        plain = name.strip().lower().replace(" ", "_")
        ours = plain in (*COLUMNS, "prompt") and plain not in all_names
        known[name] = plain if ours and plain not in known.values() else name
    return known


def _add_study(source: Source, values: Any, reading: Reading) -> None:
    try:
        reading.studies.append(from_values(values, f"a study of {source.path.name}"))
    except EvalkitError as error:
        cell = Cell("studies", text_of(values))
        reading.problems.append(source.problem("", cell, error.message))


def _answer(source: Source, row: Row, names: Names) -> Answer | Problem:
    def cell(column: str) -> Cell:
        """The cell, without the guard that `rate export --spreadsheet` puts before formulas."""
        found = row.cell(column)
        if not found.text.startswith("'"):
            return found
        known = names.is_model(found.text) or names.is_prompt(found.text)
        return found if known else Cell(column, without_guard(found.text))

    numbers: dict[str, int] = {}
    for name in NUMBERS:
        text = row.cell(name).text or "0"
        if not (text.isascii() and text.isdecimal() and len(text) < 16):
            return source.problem(row.line, row.cell(name), "expected a whole number")
        numbers[name] = int(text)
    for name, known in _WORDS.items():
        if row.cell(name).text not in known:
            expected = " or ".join(filter(None, known))
            return source.problem(row.line, row.cell(name), f"expected {expected}")
    started_at = row.cell("started_at")
    if started_at.text and not iso(started_at.text):
        return source.problem(row.line, started_at, "expected a time in ISO 8601")
    clues = _clues(cell, names)
    if not clues:
        return source.problem(row.line, row.cell("item"), "expected prompt:model or prompt:a:b")
    order = tuple(clue.model.text for clue in clues)
    shown = cell("shown_left").text
    if len(clues) == 2 and shown and shown == clues[1].model.text:
        clues.reverse()
    return Answer(
        *(row.line, cell("rater").text, cell("question").text, cell("response"), clues[0]),
        right=clues[1] if len(clues) == 2 else None,
        sides_shown=bool(shown),
        item_order=order if len(order) == 2 else (),
        exported=row.values.keys() >= _ALL,
        study=cell("study").text,
        kind=row.cell("kind").text,
        started_at=started_at.text,
        check=row.cell("check").text,  # pyright: ignore[reportArgumentType]
        position=numbers["position"],
        ms=numbers["ms"],
        revision=numbers["revision"],
    )


def _clues(cell: Any, names: Names) -> list[Clues]:
    """What the row says about its image or its two images; [] for an item that is none."""
    item = cell("item").text
    texts = tuple(found for name in ("prompt_id", "prompt") if (found := cell(name)).text)
    if not item:
        prompt = texts[0] if texts else cell("prompt_id")
        return [Clues(prompt, cell("model"), NOTHING, texts)]
    found = parts(item)
    if len(found) not in (2, 3) or not all(found):
        return []
    prompt = Cell("item", found[0])
    return [Clues(prompt, Cell("item", model), NOTHING, texts) for model in found[1:]]


FORMAT = Format("evalkit", LONG_TABLE, recognizes, read)
