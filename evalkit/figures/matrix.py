"""Matrices of shares and correlations, readable in grey: darker is larger, and numbers say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from evalkit.figures.pages import Page
from evalkit.figures.parts import short_names
from evalkit.figures.style import COLOURS, INK

SHADES = LinearSegmentedColormap.from_list("evalkit", ["#ffffff", "#cfe3f1", COLOURS[0]])


def draw_matrix(
    axes: Axes,
    page: Page,
    names: Sequence[str],
    values: Sequence[Sequence[float | None]],
    texts: Sequence[Sequence[str]],
    ends: tuple[float, float],
    framed: Sequence[tuple[int, int]] = (),
) -> None:
    """Rows against columns of the same names; None is an empty cell, `framed` cells have a frame.

    texts: what each cell says.
    """
    number, scale = len(names), page.scale
    low, high = ends
    size = max(6.0, min(7.0, 72 * 0.62 * page.width / number / 2.6 / scale)) * scale
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
    short = list(short_names(page, names, 0.3).values())
    longest = max(map(len, short)) * 4.2 * scale
    turned = longest > 72 * 0.6 * page.width / number
    axes.set_xticks(range(number), short, rotation=90 if turned else 0)
    axes.set_yticks(range(number), short)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=6.5 * scale, labelcolor=INK)
    axes.set_xlim(-0.5, number - 0.5)
    axes.set_ylim(number - 0.5, -0.5)
    axes.grid(False)
    axes.set_aspect("equal", anchor="W")
    for spine in axes.spines.values():
        spine.set_visible(False)
