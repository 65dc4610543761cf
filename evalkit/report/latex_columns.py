"""Columns of numbers in LaTeX: one row per model, aligned at the decimal point (siunitx)."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from evalkit.escape import visible
from evalkit.report.findings import Cell, Finding
from evalkit.report.labels import shorten
from evalkit.report.latex_layout import LINE, TALLEST, Panel
from evalkit.report.latex_text import (
    SMALL,
    escape,
    interval_width,
    names_of,
    number,
    printed,
    text_width,
)

Item = TypeVar("Item")
SPACE = 6.0  # the least space between two columns
_HEAD, _LONGEST = 11, 24  # characters in a line of a head, and of one word


@dataclass(frozen=True)
class Entry:
    """A number of one model, as the report writes it."""

    value: str  # "" or a dash for a missing one
    interval: str = ""  # "low to high"
    bold: bool = False
    second: bool = False
    worse: bool = False


@dataclass(frozen=True)
class Column:
    """A column of numbers with the same digits after the point."""

    title: str
    entries: Mapping[str, Entry]  # by model
    arrow: str = ""  # LaTeX
    mark: str = ""  # of the note that states its protocol
    over: str = ""  # what several columns have in common; LaTeX
    under: str = ""  # a further line of the head

    @property
    def head(self) -> list[str]:
        """The lines of the head as plain text, without arrow and mark."""
        lines = textwrap.wrap(visible(self.title), _HEAD, break_long_words=False) or [""]
        return [shorten(line, _LONGEST) for line in lines]

    @property
    def width(self) -> float:
        head = [text_width(line) for line in self.head]
        head[-1] += text_width("mi") if self.arrow else 0  # arrow and mark
        cells = [text_width(printed(entry.value)) for entry in self.entries.values()]
        ends = [interval_width(entry.interval) for entry in self.entries.values()]
        return max([*head, *cells, *ends, text_width(self.under, SMALL)])

    @property
    def format(self) -> str:
        """The table-format of siunitx: digits before and after the point, and a sign."""
        texts = [number(e.value) for e in self.entries.values() if number(e.value)] or ["0"]
        parts = [text.lstrip("-").partition("e")[::2] for text in texts]
        whole, digits = zip(*(one.partition(".")[::2] for one, _ in parts), strict=True)
        sign = "-" if any(text.startswith("-") for text in texts) else ""
        power = max((exponent for _, exponent in parts), key=len)  # of ten, for extreme values
        least = f"e{'-' * power.startswith('-')}{len(power.lstrip('-'))}" if power else ""
        return f"{sign}{max(map(len, whole))}.{max(map(len, digits))}{least}"


def column(finding: Finding, title: str = "", **more: str) -> Column:
    """The column of a finding. `second` of an entry: bold among the models that are worse."""
    second = second_best(finding)
    entries = {
        model: _entry(cell, model in second)
        for model, cell in finding.cells.items()
        if cell.measured
    }
    arrow = r"$\downarrow$" if finding.measure.better == "lower" else r"$\uparrow$"
    return Column(title or finding.title, entries, "" if title else arrow, **more)


def second_best(finding: Finding) -> set[str]:
    """The rule of bold, applied to the models that are significantly worse than the best."""
    rest = {model: row for model, row in finding.rows.items() if model in finding.worse}
    pairs = [p for p in finding.comparisons if {p.model_a, p.model_b} <= rest.keys()]
    found = Finding(finding.measure, finding.encoder, finding.reference, rest, pairs)
    return {model for model, cell in found.cells.items() if cell.bold}


def _entry(cell: Cell, second: bool) -> Entry:
    return Entry(cell.value, cell.interval, cell.bold, second, cell.worse)


def panels_of(
    columns: Sequence[Column], models: Sequence[str]
) -> Callable[[float], Sequence[Panel]]:
    """A function from a width to the panels in it: as many columns as fit, as many models."""

    def make(width: float) -> list[Panel]:
        names = names_of(models, 0.36 * width)
        first = max([text_width("Model"), *map(text_width, names.values())])
        return [
            _panel(some, rows, names, first)
            for some in _fitting(columns, width - first)
            for rows in _fair(models, some)
        ]

    return make


def _fitting(columns: Sequence[Column], width: float) -> list[list[Column]]:
    """Consecutive columns that fit beside each other: few panels, with equally many if possible."""
    filled: list[list[Column]] = []
    for one in columns:
        if filled and _least([*filled[-1], one]) <= width:
            filled[-1].append(one)
        else:
            filled.append([one])
    even = _split(columns, len(filled))
    return even if all(_least(group) <= width for group in even) else filled


def _least(columns: Sequence[Column]) -> float:
    return sum(one.width + SPACE for one in columns)


def _fair(models: Sequence[str], columns: Sequence[Column]) -> list[list[str]]:
    """The models of each panel, so that no panel is taller than a page."""
    head = 8 + LINE * (3 + max(len(one.head) for one in columns))
    rows = max(1, int((TALLEST - head) / (2 * LINE + 2)))
    return _split(models, -(-len(models) // rows))


def _split(items: Sequence[Item], count: int) -> list[list[Item]]:
    """Consecutive parts of about the same length."""
    ends = [round(i * len(items) / count) for i in range(count + 1)]
    return [list(items[a:b]) for a, b in itertools.pairwise(ends)]


def _panel(
    columns: Sequence[Column], models: Sequence[str], names: Mapping[str, str], first: float
) -> Panel:
    lines = _over(columns) + _heads(columns) + [r"\midrule"]
    for model in models:
        entries = [one.entries.get(model) for one in columns]
        values = [_value(entry, one) for entry, one in zip(entries, columns, strict=True)]
        lines.append(_row(escape(names[model]), values))
        if any(entry and entry.interval for entry in entries):
            lines += [_row("", [_interval(entry) for entry in entries]), r"\addlinespace[2pt]"]
    if lines[-1].startswith(r"\addlinespace"):
        lines.pop()
    rows = sum(line.endswith(r"\\") for line in lines)
    return Panel(
        "l" + "".join(f"S[table-format={one.format}]" for one in columns),
        first + sum(one.width for one in columns),
        len(columns),
        lines,
        8 + rows * LINE + 2 * len(models),
    )


def _over(columns: Sequence[Column]) -> list[str]:
    """The line above the heads: what neighbouring columns have in common."""
    if not any(one.over for one in columns):
        return []
    cells, rules, place = [], "", 2
    for over, group in itertools.groupby(columns, lambda one: one.over):
        count = len(list(group))
        cells.append(rf"\multicolumn{{{count}}}{{c}}{{{over}}}")
        rules += rf"\cmidrule(lr){{{place}-{place + count - 1}}}"
        place += count
    return [_row("", cells), rules]


def _heads(columns: Sequence[Column]) -> list[str]:
    heads = []
    for one in columns:
        lines = [escape(line) for line in one.head]
        lines[-1] += f" {one.arrow}" if one.arrow else ""
        lines[-1] += rf"\textsuperscript{{{one.mark}}}" if one.mark else ""
        heads.append([*lines, *([rf"\evalkitsmall {escape(one.under)}"] if one.under else [])])
    most = max(map(len, heads))
    aligned = [[""] * (most - len(lines)) + lines for lines in heads]
    return [
        _row("Model" if place == most - 1 else "", [f"{{{text}}}" for text in line])
        for place, line in enumerate(zip(*aligned, strict=True))
    ]


def _row(first: str, cells: Sequence[str]) -> str:
    return " & ".join([first, *cells]) + r" \\"


def _value(entry: Entry | None, column: Column) -> str:
    text = number(entry.value) if entry else ""
    if entry is None or not text:
        return "{--}"
    worse = r" {\evalkitworse}" if entry.worse else ""
    if entry.second:  # not read by siunitx: padded to its format, so that the points are aligned
        missing = int(column.format.strip("-").split(".")[0]) - len(text.strip("-").split(".")[0])
        sign = column.format.startswith("-") and not text.startswith("-")
        padding = rf"\hphantom{{{'-' * sign}{'0' * missing}}}" if sign or missing else ""
        return rf"{{{padding}\underline{{\num{{{text}}}}}{worse.strip()}}}"
    return (r"\bfseries " if entry.bold else "") + text + worse


def _interval(entry: Entry | None) -> str:
    if entry is None or not entry.interval:
        return "{}"
    low, high = map(number, entry.interval.split(" to "))
    return rf"{{\evalkitinterval{{{low}}}{{{high}}}}}"
