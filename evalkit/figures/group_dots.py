"""Values by group of prompts."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from evalkit.core import EvalkitError
from evalkit.figures.parts import (
    direction,
    interval,
    legend,
    model_handles,
    new_figure,
    settle,
    short_names,
)
from evalkit.figures.rows import Data, Row, measure_of, models_of, one_metric, rows_of
from evalkit.figures.style import DOTTED, drawing, look

COLUMNS = ("group", "model", "metric", "value", "low", "high", "better")
FRAME = "`run.frame()` of a run whose prompts have groups"


def group_dots(
    frame: Data,
    *,
    metric: str | None = None,
    width: str = "icml",
    columns: str = "one",
    models: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """The value and 95% interval of each group of prompts, the models side by side.

    Dotted lines are at the values on all prompts, where the frame has them. The number of prompts
    is behind the name of a group, where the frame has a column `prompts`.

    Args:
        frame: `run.frame()`, or rows with group, model, metric, value, low, high and better.
        metric: its name; the first one with values by group by default.
        width: icml, cvpr, aaai, acl, neurips, iclr or slides.
        columns: one or two columns of the paper.
        models: all models, which have the same colours and markers in figures of the same list.
        title: above the figure; a paper has it in the caption.

    Raises:
        EvalkitError: a column is missing, or there are no groups of prompts.
    """
    rows = group_rows(rows_of(frame, COLUMNS, FRAME), metric)
    own = [row for row in rows if row["group"]]
    groups = list(dict.fromkeys(row["group"] for row in own))
    models = list(models or models_of(own))
    better, measure = own[0]["better"], measure_of(own[0])
    with drawing(width, columns) as page:
        step = min(0.2, 0.7 / len(models))
        figure = new_figure(
            page,
            0.5 + len(groups) * max(0.24, 0.1 * len(models)),
            0.5 + len(groups) * max(0.16, 0.06 * len(models)),
        )
        axes = figure.subplots()
        for row in own:
            if row["model"] not in models:
                continue
            shift = (models.index(row["model"]) - (len(models) - 1) / 2) * step
            interval(axes, groups.index(row["group"]) + shift, row, models)
        names = short_names(page, groups)
        counts = {
            row["group"]: f" ({row['prompts']:.0f})" if row.get("prompts") else "" for row in own
        }
        axes.set_yticks(range(len(groups)), [f"{names[one]}{counts[one]}" for one in groups])
        axes.set_ylim(len(groups) - 0.4, -0.6)
        axes.spines["left"].set_visible(False)
        for line in range(1, len(groups)):  # between groups
            axes.axhline(line - 0.5, color="#dfe2e6", linewidth=0.5, zorder=0)
        for row in rows:
            if not row["group"] and row["model"] in models:
                colour = look(models, row["model"]).colour
                axes.axvline(row["value"], color=colour, linewidth=0.9, linestyle=DOTTED, zorder=1)
        axes.set_title(title)
        direction(axes, better, "" if title else measure.title)
        if len(models) > 1:
            legend(figure, page, model_handles(models), models)
        return settle(figure)


def group_rows(rows: Sequence[Row], metric: str | None = None) -> list[Row]:
    """The rows of one metric with a value: those on all prompts, and those by group."""
    known = [row for row in rows if row["value"] is not None]
    grouped = [row for row in known if row["group"]]
    if not grouped:
        raise EvalkitError(
            "There are no values by group of prompts.", f"Give {FRAME}.", code="figures-3"
        )
    chosen = one_metric(grouped, metric, FRAME)
    first = chosen[0]
    same = ("metric", "encoder", "reference")
    whole = [
        row
        for row in known
        if not row["group"]
        and row.get("on", "answered") == "answered"
        and all(row.get(name) == first.get(name) for name in same)
    ]
    return [*whole, *chosen]
