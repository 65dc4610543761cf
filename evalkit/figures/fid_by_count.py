"""FID against the number of images, extrapolated to infinitely many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from evalkit.core import EvalkitError
from evalkit.figures.labels import width_of
from evalkit.figures.pages import Page
from evalkit.figures.parts import legend, model_handles, new_figure, settle
from evalkit.figures.rows import (
    Data,
    Row,
    measure_of,
    models_of,
    on_all_prompts,
    one_metric,
    rows_of,
)
from evalkit.figures.style import INK, drawing, look

COLUMNS = ("model", "count", "value")
FRAME = "the rows that `evalkit figures` writes to fid_by_count.csv"
MARKER = 6.0  # points, the size of an open marker with its edge


def fid_by_count(
    frame: Data,
    *,
    metric: str = "fid",
    width: str = "icml",
    columns: str = "one",
    models: Sequence[str] | None = None,
) -> Figure:
    """FID of random subsets against 1/N, and the least squares line to infinite N.

    Its value there, the open marker, is FID∞ (Chong and Forsyth 2020). Open markers that would
    cover each other are side by side.

    Args:
        frame: rows with model, count (of images) and value, at two or more counts of each model.
            `run.frame()` has one count of each model: the subsets are measured by
            `evalkit figures`, which writes them to fid_by_count.csv.
        metric: its name, where the frame has a column `metric`.
        width: icml, cvpr, aaai, acl, neurips, iclr or slides.
        columns: one or two columns of the paper.
        models: all models, which have the same colours in figures of the same list.

    Raises:
        EvalkitError: a column is missing, there are no rows of this metric, or a model has only one
            count.
    """
    rows = count_rows(rows_of(frame, COLUMNS, FRAME), metric)
    title = measure_of({"metric": metric, **rows[0]}).title
    drawn = models_of(rows)
    models = list(models or drawn)
    with drawing(width, columns) as page:
        figure = new_figure(page, 2.1)
        axes = figure.subplots()
        ends = {}
        for model in drawn:
            own = [row for row in rows if row["model"] == model]
            colour, marker, dash = look(models, model)
            counts = np.array([row["count"] for row in own], dtype=float)
            ends[model], slope = line(own)
            axes.plot(1 / counts, [row["value"] for row in own], marker, color=colour,
                      markersize=3 * page.scale, zorder=3)  # fmt: skip
            far = 1 / counts.min()
            axes.plot([0, far], [ends[model], ends[model] + slope * far], color=colour,
                      linestyle=dash, linewidth=0.9 * page.scale, zorder=2)  # fmt: skip
        _set_counts(axes, page, rows, _open_markers(axes, page, ends, models))
        axes.axvline(0, color=INK, linewidth=0.6, zorder=1)
        if min(ends.values()) < 0:
            axes.axhline(0, color=INK, linewidth=0.6, zorder=1)
        axes.grid(axis="both")
        axes.set_xlabel("number of images N, on a scale of 1/N")
        axes.set_ylabel(f"{title}, lower is better")
        if len(drawn) > 1:
            handles = dict(zip(models, model_handles(models, lines=True), strict=True))
            legend(figure, page, [handles[one] for one in drawn], drawn, handlelength=2.4)
        else:
            axes.set_title(drawn[0])
        return settle(figure)


def count_rows(rows: Sequence[Row], metric: str = "fid") -> list[Row]:
    """The rows of one metric on all prompts, at two or more counts of each model."""
    if "metric" in rows[0]:
        rows = one_metric(on_all_prompts(rows), metric, FRAME)
    known = [row for row in rows if row["value"] is not None and row["count"]]
    for model in models_of(rows):
        counts = {row["count"] for row in known if row["model"] == model}
        if len(counts) < 2:
            found = f"{next(iter(counts)):,.0f}" if counts else "none with a value"
            raise EvalkitError(
                f"{model} has values at one number of images ({found}); a line in 1/N needs two or"
                " more.",
                f"Give {FRAME}.",
                code="figures-2",
            )
    return known


def line(rows: Sequence[Row]) -> tuple[float, float]:
    """The value at infinite N, and the slope in 1/N, of the least squares line."""
    x = 1 / np.array([row["count"] for row in rows], dtype=float)
    y = np.array([row["value"] for row in rows], dtype=float)
    centred = x - x.mean()
    slope = float((centred * y).sum() / (centred**2).sum())
    return float(y.mean() - slope * x.mean()), slope


def _open_markers(
    axes: Axes, page: Page, ends: Mapping[str, float], models: Sequence[str]
) -> float:
    """The values at infinite N; those of nearly the same value are side by side.

    Returns how far the markers reach to the left of infinity, in points.
    """
    axes.autoscale_view()
    low, high = axes.get_ylim()
    height = axes.figure.bbox.height / axes.figure.dpi  # inches; 0.7 of it are the axes
    near = MARKER * page.scale * (high - low) / (0.7 * 72 * height)
    clusters: list[list[str]] = []
    for model in sorted(ends, key=lambda one: ends[one]):
        if clusters and ends[model] - ends[clusters[-1][-1]] < near:
            clusters[-1].append(model)
        else:
            clusters.append([model])
    reach = 0.0
    for cluster in clusters:
        step = min(MARKER, 36 / len(cluster)) * page.scale
        for place, model in enumerate(sorted(cluster, key=models.index)):
            aside = (place - (len(cluster) - 1) / 2) * step
            reach = max(reach, -aside)
            colour, marker, _ = look(models, model)
            moved = ScaledTranslation(aside / 72, 0, axes.figure.dpi_scale_trans)
            axes.plot([0], [ends[model]], marker, color=colour, markerfacecolor="white",
                      markeredgewidth=0.9 * page.scale, clip_on=False, zorder=4,
                      transform=axes.transData + moved)  # fmt: skip
    return reach


def _set_counts(axes: Axes, page: Page, rows: Sequence[Row], reach: float) -> None:
    """The x axis: ticks at all N that are the most of a model, at the least N, and between them.

    Labels that would overlap are left out, that of the largest N never.
    """
    counts = sorted({int(row["count"]) for row in rows})
    whole = {
        max(int(row["count"]) for row in rows if row["model"] == model) for model in models_of(rows)
    }
    points = (0.6 if page.slide else 0.8) * 72 * page.width / (1.04 / counts[0])  # of 1/N
    size = 6.5 * page.scale
    labels, wide = {0.0: "∞"}, {0.0: width_of("∞", size)}
    for count in dict.fromkeys(
        (counts[-1], counts[0], *sorted(whole, reverse=True), *counts[1:-1])
    ):
        place, label = 1 / count, f"{count:,}"
        own = width_of(label, size)
        free = all(
            abs(place - other) * points - (own + width) / 2 > size for other, width in wide.items()
        )
        if free:
            labels[place], wide[place] = label, own
        elif count == counts[-1]:
            labels[place] = f"\n{label}"
        elif count in whole:
            labels.setdefault(place, "")
    axes.set_xticks(list(labels), list(labels.values()))
    margin = 1.2 * reach + MARKER * page.scale if reach else 0.0
    axes.set_xlim(-margin / points, 1.04 / counts[0])
