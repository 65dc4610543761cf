"""Differences between models with their intervals, and the margin of the gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from evalkit.core import EvalkitError
from evalkit.figures.parts import grid, name_lines, settle, short_names
from evalkit.figures.rows import MINUS, RATINGS, Data, Row, by_metric, models_of, rows_of, title_of
from evalkit.figures.style import COLOURS, INK, RULE, drawing

COLUMNS = ("metric", "model_a", "model_b", "difference", "low", "high", "better", "verdict")
FRAME = '`run.frame("comparisons")`, or rows with these columns'
MOST_PAIRS = 12  # of a metric; with more, only those with the best model are drawn
BETTER, EQUAL = COLOURS[0], "#5a626b"


def difference_dots(
    frame: Data,
    *,
    width: str = "icml",
    columns: str = "one",
    metrics: Sequence[str] | None = None,
) -> Figure:
    """Small multiples, one per metric: the difference of each pair of models, a - b.

    Thick lines are plain 95% intervals, thin ones are adjusted for all comparisons (Holm). The
    marker is filled where the difference is significant. A grey band, where rows have a `margin`,
    is the difference that the gate allows.

    Args:
        frame: `run.frame("comparisons")`, of which the rows on all prompts are drawn; a column
            `margin`, in the unit of the metric, is optional.
        width: icml, cvpr, aaai, acl, neurips, iclr or slides.
        columns: one or two columns of the paper.
        metrics: names of metrics; all by default.

    Raises:
        EvalkitError: a column is missing, or nothing is left to draw.
    """
    rows = drawn_pairs(rows_of(frame, COLUMNS, FRAME), metrics)
    with drawing(width, columns) as page:
        panels = list(by_metric(rows).values())
        most = max(map(len, panels))
        high, least = 0.66 + 0.165 * most, 0.55 + 0.12 * most
        figure, every, across = grid(page, high, len(panels), least)
        short = short_names(page, models_of(rows, "model_a", "model_b"), 0.2 / across)
        shared = len({tuple(map(_pair, own)) for own in panels}) == 1
        for place, (axes, own) in enumerate(zip(every, panels, strict=True)):
            for line, row in enumerate(own):
                _difference(axes, line, row)
            axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
            axes.margins(x=0.08)
            axes.locator_params(axis="x", nbins=5)
            names = [f"{short[row['model_a']]} {MINUS} {short[row['model_b']]}" for row in own]
            name_lines(axes, names, shown=not shared or place % across == 0)
            axes.set_title(title_of(own[0]))
            low = own[0]["better"] == "lower"
            axes.set_xlabel("← first is better" if low else "first is better →",
                            loc="left" if low else "right")  # fmt: skip
        return settle(figure)


def drawn_pairs(rows: Sequence[Row], metrics: Sequence[str] | None = None) -> list[Row]:
    """The pairs on all prompts; of many pairs of a metric, those with its best model."""
    chosen = [
        row
        for row in rows
        if row["difference"] is not None
        and not row.get("group")
        and (row["metric"] in metrics if metrics else row["metric"] not in RATINGS)
    ]
    if not chosen:
        raise EvalkitError(
            "The frame has no difference of two models in these metrics.",
            f"Give {FRAME}.",
            code="figures-1",
        )
    found: list[Row] = []
    for own in by_metric(chosen).values():
        if len(own) > MOST_PAIRS:
            best = _best(own)
            own = [row for row in own if best in _pair(row)]
        found += own
    return found


def _pair(row: Row) -> tuple[str, str]:
    return row["model_a"], row["model_b"]


def _best(rows: Sequence[Row]) -> str:
    """The model that is ahead in the most pairs."""
    sign = -1 if rows[0]["better"] == "lower" else 1
    ahead = [row[f"model_{'a' if sign * row['difference'] > 0 else 'b'}"] for row in rows]
    return max(models_of(rows, "model_a", "model_b"), key=ahead.count)


def _difference(axes: Any, line: int, row: Row) -> None:
    if row.get("margin") is not None:
        margin = row["margin"]
        axes.fill_betweenx(
            [line - 0.42, line + 0.42], -margin, margin, color=RULE, linewidth=0, zorder=0
        )
    significant = row["verdict"] in ("a better", "b better")
    colour = BETTER if significant else EQUAL
    for low, high, thick in (("low_adjusted", "high_adjusted", 0.5), ("low", "high", 1.4)):
        if row.get(low) is not None and row.get(high) is not None:
            axes.plot([row[low], row[high]], [line] * 2, color=colour, zorder=2,
                      linewidth=thick * _line_scale(), solid_capstyle="butt")  # fmt: skip
    axes.plot(
        [row["difference"]], [line], "o", color=colour, zorder=3,
        markerfacecolor=colour if significant else "white", markeredgewidth=0.9 * _line_scale(),
    )  # fmt: skip


def _line_scale() -> float:
    from matplotlib import rcParams

    return rcParams["lines.linewidth"] / 1.3
