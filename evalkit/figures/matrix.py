"""Matrices of shares and correlations, readable in grey: darker is larger, and numbers say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from evalkit.figures.labels import labels_within, width_of
from evalkit.figures.pages import Page
from evalkit.figures.parts import new_figure, short_names
from evalkit.figures.style import COLOURS, INK
from evalkit.terminal import one_line

WIDEST = 2.2  # a cell, relative to its height
SHADES = LinearSegmentedColormap.from_list("evalkit", ["#ffffff", "#cfe3f1", COLOURS[0]])


def matrix_figure(
    page: Page,
    names: Sequence[str],
    values: Sequence[Sequence[float | None]],
    texts: Sequence[Sequence[str]],
    ends: tuple[float, float],
    framed: Sequence[tuple[int, int]] = (),
) -> tuple[Figure, Axes]:
    """Rows against columns of the same names; None is an empty cell, `framed` cells have a frame.

    texts: what each cell says.
    """
    number, scale, size = len(names), page.scale, 6.5 * page.scale
    short = list(short_names(page, names, 0.3, 6.5).values())
    label = _longest(short, size) + 0.1 * scale  # inches, as all lengths here
    free = (page.width - label - 0.05 * scale) / number
    foot, head = 0.3 * scale, 0.22 * scale
    cell = _height(page, free, number, head + foot)
    wide = min(free, WIDEST * cell)
    across = list(labels_within(names, 72 * wide, size).values())
    turned = across != [one_line(name) for name in names]
    if turned:
        across = list(labels_within(names, 72 * 0.9 * scale, size).values())
        head = _longest(across, size) + 0.1 * scale
        cell = _height(page, free, number, head + foot)
        wide = min(free, WIDEST * cell)
    figure = new_figure(page, (head + foot + cell * number) / scale,
                        (head + foot + cell * number) / scale)  # fmt: skip
    figure.set_layout_engine("none")
    height = figure.get_figheight()
    left = label + (page.width - label - wide * number) / 2
    bottom = foot + (height - head - foot - cell * number) / 2
    axes = figure.add_axes((
        left / page.width, bottom / height, wide * number / page.width, cell * number / height
    ))  # fmt: skip
    low, high = ends
    inside = max(6.0, min(7.0, 72 * min(cell, wide) / 2.6 / scale)) * scale
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if value is None:
                continue
            shade = SHADES((value - low) / (high - low))
            style: dict[str, Any] = {"facecolor": shade, "edgecolor": "#ffffff", "linewidth": 0.8}
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **style))
            light = (value - low) / (high - low) > 0.72
            axes.text(
                column, row, texts[row][column], ha="center", va="center", fontsize=inside,
                color="#ffffff" if light else INK,
            )  # fmt: skip
    for row, column in framed:
        axes.add_patch(
            Rectangle((column - 0.44, row - 0.44), 0.88, 0.88, fill=False, edgecolor=INK,
                      linewidth=0.8 * scale)
        )  # fmt: skip
    axes.set_xticks(range(number), across, rotation=90 if turned else 0)
    axes.set_yticks(range(number), short)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=size, labelcolor=INK)
    axes.set_xlim(-0.5, number - 0.5)
    axes.set_ylim(number - 0.5, -0.5)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure, axes


def _height(page: Page, free: float, number: int, around: float) -> float:
    """Of a cell, at most as wide as `free`, below and above labels of the height `around`."""
    if not page.slide:
        return min(0.36 * page.scale, free)
    return min(free, max(0.14 * page.scale, (page.slide - around) / number))


def _longest(texts: Sequence[str], size: float) -> float:
    """The width of the longest text in inches; hinted letters are wider than their outlines."""
    return 1.06 * max(width_of(text, size) for text in texts) / 72
