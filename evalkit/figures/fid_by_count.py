"""FID against the number of images, extrapolated to infinitely many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from evalkit.figures.parts import legend, model_handles, new_figure, settle
from evalkit.figures.rows import Data, Row, models_of, rows_of
from evalkit.figures.style import INK, drawing, look

COLUMNS = ("model", "count", "value")
FRAME = "the rows that `evalkit figures` writes to fid_by_count.csv"


def fid_by_count(
    frame: Data,
    *,
    width: str = "icml",
    columns: str = "one",
    models: Sequence[str] | None = None,
) -> Figure:
    """FID of random subsets against 1/N, and the least squares line to infinite N.

    Its value there, the open marker, is FID∞ (Chong and Forsyth 2020).

    Args:
        frame: rows with model, count (of images) and value, at two or more counts of each model.
        width: icml, cvpr, aaai, acl, neurips, iclr or slides.
        columns: one or two columns of the paper.
        models: all models, which have the same colours in figures of the same list.

    Raises:
        EvalkitError: a column is missing, or there are no rows.
    """
    rows = rows_of(frame, COLUMNS, FRAME)
    drawn = models_of(rows)
    models = list(models or drawn)
    with drawing(width, columns) as page:
        figure = new_figure(page, 2.1)
        axes = figure.subplots()
        for model in drawn:
            own = [row for row in rows if row["model"] == model]
            colour, marker, dash = look(models, model)
            counts = np.array([row["count"] for row in own], dtype=float)
            end, slope = line(own)
            axes.plot(1 / counts, [row["value"] for row in own], marker, color=colour,
                      markersize=3 * page.scale, zorder=3)  # fmt: skip
            far = 1 / counts.min()
            axes.plot([0, far], [end, end + slope * far], color=colour, linestyle=dash,
                      linewidth=0.9 * page.scale, zorder=2)  # fmt: skip
            axes.plot([0], [end], marker, color=colour, markerfacecolor="white", clip_on=False,
                      markeredgewidth=0.9 * page.scale, zorder=4)  # fmt: skip
        counts = sorted({int(row["count"]) for row in rows})
        ticks = _ticks(counts)
        axes.set_xticks([0, *(1 / count for count in ticks)], ["∞", *(f"{n:,}" for n in ticks)])
        axes.set_xlim(0, 1.04 / counts[0])
        axes.axvline(0, color=INK, linewidth=0.6, zorder=1)
        axes.grid(axis="both")
        axes.set_xlabel("number of images N, on a scale of 1/N")
        axes.set_ylabel("FID, lower is better")
        if len(drawn) > 1:
            handles = dict(zip(models, model_handles(models, lines=True), strict=True))
            legend(figure, page, [handles[one] for one in drawn], drawn, handlelength=2.4)
        else:
            axes.set_title(drawn[0])
        return settle(figure)


def line(rows: Sequence[Row]) -> tuple[float, float]:
    """The value at infinite N, and the slope in 1/N, of the least squares line."""
    x = 1 / np.array([row["count"] for row in rows], dtype=float)
    y = np.array([row["value"] for row in rows], dtype=float)
    centred = x - x.mean()
    slope = float((centred * y).sum() / (centred**2).sum())
    return float(y.mean() - slope * x.mean()), slope


def _ticks(counts: Sequence[int]) -> list[int]:
    """The smallest count, and others whose labels do not overlap on a scale of 1/N."""
    found = [counts[0]]
    for count in counts[1:]:
        if 1 / found[-1] - 1 / count > 0.22 / counts[0] and 1 / count > 0.2 / counts[0]:
            found.append(count)
    return found
