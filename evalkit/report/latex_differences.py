"""The differences between models in LaTeX: one row per pair, below the name of its metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evalkit.escape import latex
from evalkit.report.findings import Finding
from evalkit.report.latex_columns import SPACE
from evalkit.report.latex_layout import LINE, TALLEST, Panel
from evalkit.report.latex_text import interval_width, names_of, number, text_width
from evalkit.report.sections import DifferenceRow, compared_rows

_HEAD = [r"$a$ & $b$ & {$a - b$} & {interval} & {$p$} \\", r"\midrule"]
_ONE_COLUMN = 300.0  # in a narrower one, names are not shortened
_ROWS = int((TALLEST - 40) / LINE)  # of one float


def panels_of_differences(
    titles: Sequence[tuple[Finding, str]],
) -> Callable[[float], Sequence[Panel]]:
    """A function from a width to the panels in it.

    titles: the compared findings, with their titles as LaTeX.
    """
    found = [(title, compared_rows(one.comparisons)) for one, title in titles]
    rows = [row for _, differences in found for row in differences]
    models = list(dict.fromkeys(name for r in rows for name in (r.row.model_a, r.row.model_b)))
    numeric = max(text_width(row.difference) for row in rows)
    ends = max(interval_width(row.adjusted) for row in rows)
    least = numeric + ends + text_width("< 0.001")

    def make(width: float) -> list[Panel]:
        names = names_of(models, (width - least - 4 * SPACE) / 2.3)
        if width < _ONE_COLUMN and any(name != label for name, label in names.items()):
            return []
        first = 1.15 * max(text_width(name) for name in names.values())  # bold
        lines = _lines(found, names)
        return [
            Panel("ll" + "rcr", 2 * first + least, 4, [*_HEAD, *part], 40 + LINE * len(part))
            for part in _parts(lines)
        ]

    return make


def _lines(
    found: Sequence[tuple[str, Sequence[DifferenceRow]]], names: dict[str, str]
) -> list[tuple[str, str]]:
    """The rows, each with the title that stands above it."""
    return [(title, _line(row, names)) for title, rows in found for row in rows]


def _line(row: DifferenceRow, names: dict[str, str]) -> str:
    a, b = (
        rf"\textbf{{{latex(names[name])}}}" if name == row.row.winner else latex(names[name])
        for name in (row.row.model_a, row.row.model_b)
    )
    interval = "--"
    if row.adjusted:
        low, high = map(number, row.adjusted.split(" to "))
        interval = rf"\evalkitinterval{{{low}}}{{{high}}}"
    p = latex(row.p) if number(row.p) else "--"
    return rf"{a} & {b} & \num{{{number(row.difference)}}} & {interval} & {p} \\"


def _parts(lines: Sequence[tuple[str, str]]) -> list[list[str]]:
    """The lines of each float, with the title above the first row of a metric."""
    parts: list[list[str]] = [[]]
    before, above = "", ""  # the metric of the last row, and the title above it in this float
    for title, line in lines:
        if len(parts[-1]) + 3 > _ROWS:
            parts.append([])
            above = ""
        if title != above:
            text = f"{title} (continued)" if title == before else title
            parts[-1] += [r"\addlinespace[2pt]"] if parts[-1] else []
            parts[-1].append(rf"\multicolumn{{5}}{{@{{}}l}}{{{text}}} \\")
        parts[-1].append(line)
        before = above = title
    return parts
