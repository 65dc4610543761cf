"""Matrices of shares and correlations, readable in grey: darker is larger, and numbers say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from evalkit.figures.labels import labels_within
from evalkit.figures.pages import Page
from evalkit.figures.parts import new_figure, short_names
from evalkit.figures.style import COLOURS, INK
from evalkit.terminal import one_line

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
    number, scale = len(names), page.scale
    cell = min(0.36 * scale, 0.62 * page.width / number)  # inches
    short = list(short_names(page, names, 0.3, 6.5).values())
    across = list(labels_within(names, 72 * cell, 6.5 * scale).values())
    turned = across != [one_line(name) for name in names]
    if turned:
        across = list(labels_within(names, 72 * 0.9 * scale, 6.5 * scale).values())
    figure = new_figure(page, (1.4 if turned else 0.6) + cell * number / scale)
    axes = figure.subplots()
    low, high = ends
    size = max(6.0, min(7.0, 72 * cell / 2.6 / scale)) * scale
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if value is None:
                continue
            shade = SHADES((value - low) / (high - low))
            style: dict[str, Any] = {"facecolor": shade, "edgecolor": "#ffffff", "linewidth": 0.8}
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **style))
            light = (value - low) / (high - low) > 0.72
            axes.text(
                column, row, texts[row][column], ha="center", va="center", fontsize=size,
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
    axes.tick_params(length=0, labelsize=6.5 * scale, labelcolor=INK)
    axes.set_xlim(-0.5, number - 0.5)
    axes.set_ylim(number - 0.5, -0.5)
    axes.grid(False)
    axes.set_aspect("equal", anchor="W")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure, axes
