"""The distribution of the score of every image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from evalkit.core import EvalkitError
from evalkit.figures.parts import direction, legend, model_handles, new_figure, settle
from evalkit.figures.rows import Data, Row, measure_of, models_of, one_metric, rows_of
from evalkit.figures.style import DOTTED, MUTED, drawing, look

STEPS = 200  # of a curve: more cannot be seen, and would fill the page
COLUMNS = ("model", "metric", "value")
FRAME = '`run.frame("scores")`, or rows with model, metric and value'


def score_distribution(
    frame: Data,
    *,
    metric: str | None = None,
    width: str = "icml",
    columns: str = "one",
    models: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """The empirical distribution function of a score per image; markers are the medians.

    Args:
        frame: `run.frame("scores")`, or rows with model, metric and value.
        metric: its name; the first one by default.
        width: icml, cvpr, aaai, acl, neurips, iclr or slides.
        columns: one or two columns of the paper.
        models: all models, which have the same colours and markers in figures of the same list.
        title: above the figure; a paper has it in the caption.

    Raises:
        EvalkitError: a column is missing, or there are no values.
    """
    rows = score_rows(rows_of(frame, COLUMNS, FRAME), metric)
    measure, models = measure_of(rows[0]), list(models or models_of(rows))
    with drawing(width, columns) as page:
        figure = new_figure(page, 2.1)
        axes = figure.subplots()
        for model in models:
            values = sorted(float(row["value"]) for row in rows if row["model"] == model)
            if not values:
                continue
            colour, marker, dash = look(models, model)
            shown = values
            if len(values) > STEPS:
                shown = np.quantile(values, np.linspace(0, 1, STEPS), method="nearest")
            axes.ecdf(shown, color=colour, linestyle=dash)
            median = values[(len(values) - 1) // 2]
            axes.plot([median], [0.5], marker, color=colour)
        axes.axhline(0.5, color=MUTED, linewidth=0.6, linestyle=DOTTED, zorder=1)
        axes.set_title(title)
        axes.set_ylabel("share of images at or below")
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
        better = rows[0].get("better") or measure.better
        direction(axes, better, "" if title else measure.title)
        if len(models) > 1:
            drawn = [model for model in models if model in models_of(rows)]
            handles = dict(zip(models, model_handles(models, lines=True), strict=True))
            legend(figure, page, [handles[one] for one in drawn], drawn, handlelength=2.4)
        return settle(figure)


def score_rows(rows: Sequence[Row], metric: str | None = None) -> list[Row]:
    """The rows of one metric that have a value."""
    if "requested" in rows[0]:  # of run.frame(): one value of a whole model
        raise EvalkitError(
            "The rows have one value per model; expected one per image.",
            f"Give {FRAME}.",
            code="figures-25",
        )
    known = [row for row in rows if row["value"] is not None]
    if not known:
        raise EvalkitError("There are no values per image.", f"Give {FRAME}.", code="figures-21")
    return one_metric(known, metric, FRAME)
