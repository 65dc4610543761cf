"""The record of a training."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from evalkit.figures.style import COLOURS, Rows, drawing


def training_curve(rows: Rows, title: str) -> Figure:
    """Small multiples, one per column: the record of a training over its steps.

    Rows: step and the columns, all numbers.
    """
    columns_of_rows = dict.fromkeys(name for row in rows for name in row)
    names = [name for name in columns_of_rows if name not in ("step", "seconds")]
    columns = min(3, len(names))
    lines = math.ceil(len(names) / columns)
    with drawing():
        figure = Figure(figsize=(2.2 * columns, 1.35 * lines + 0.3), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
        grid = figure.subplots(lines, columns, squeeze=False).flat
        for axes, name in zip(grid, names, strict=False):
            points = zip(*((row["step"], row[name]) for row in rows if name in row), strict=True)
            axes.plot(*points, color=COLOURS[0], linewidth=1.1, marker="o", markersize=2)
            axes.set_title(name.replace("_", " "))
            axes.grid(axis="y")
        for axes in figure.axes[len(names) :]:
            axes.set_visible(False)
        return figure
