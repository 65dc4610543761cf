"""Values of all models with their intervals, metric by metric."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from evalkit.core import EvalkitError
from evalkit.figures.parts import (
    direction,
    grid,
    interval,
    name_lines,
    reference_line,
    settle,
    short_names,
)
from evalkit.figures.rows import (
    RATINGS,
    Data,
    Row,
    by_metric,
    measure_of,
    models_of,
    on_all_prompts,
    rows_of,
    title_of,
)
from evalkit.figures.style import INK, drawing

COLUMNS = ("model", "metric", "value", "low", "high", "better")
FRAME = "`run.frame()`, or rows with these columns"


def metric_dots(
    frame: Data,
    *,
    width: str = "icml",
    columns: str = "one",
    metrics: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
) -> Figure:
    """Small multiples, one per metric: the value of each model and its 95% interval.

    A solid line is at zero, a dotted one at the best value; short vertical lines are finite-sample
    baselines.

    Args:
        frame: `run.frame()`, of which the rows on all prompts with an encoder are drawn; or rows
            with model, metric, value, low, high and better.
        width: icml, cvpr, aaai, acl, neurips, iclr or slides.
        columns: one or two columns of the paper.
        metrics: names of metrics; all by default.
        models: the models, in their order from the top; all by default.

    Raises:
        EvalkitError: a column is missing, or nothing is left to draw.
    """
    rows = dots_rows(rows_of(frame, COLUMNS, FRAME), metrics)
    return draw_dots(rows, models or models_of(rows), width, columns)


def dots_rows(rows: Sequence[Row], metrics: Sequence[str] | None = None) -> list[Row]:
    """The measured rows on all prompts; of metrics of images unless metrics are named."""
    whole = on_all_prompts(rows)
    if metrics:
        found = [row for row in whole if row["metric"] in metrics]
    else:
        found = [row for row in whole if row.get("encoder", " ") and row["metric"] not in RATINGS]
    if not found:
        known = ", ".join(dict.fromkeys(row["metric"] for row in whole)) or "none"
        raise EvalkitError(
            f"The frame has no value of these metrics, only of {known}.",
            f"Give {FRAME}.",
            code="figures-9",
        )
    return found


def draw_dots(rows: Sequence[Row], models: Sequence[str], width: str, columns: str) -> Figure:
    with drawing(width, columns) as page:
        panels = list(by_metric(row for row in rows if row["model"] in models).values())
        high, least = 0.62 + 0.165 * len(models), 0.52 + 0.12 * len(models)
        figure, every, across = grid(page, high, len(panels), least)
        names = list(short_names(page, models, 0.38 / across).values())
        for place, (axes, own) in enumerate(zip(every, panels, strict=True)):
            measure = measure_of(own[0])
            for row in own:
                line = models.index(row["model"])
                interval(axes, line, row, models)
                if row.get("baseline") is not None:
                    axes.vlines(row["baseline"], line - 0.34, line + 0.34, color=INK, linewidth=1.2)
            axes.set_title(title_of(own[0]))
            reference_line(axes, own, own[0]["better"], measure.from_zero)
            name_lines(axes, names, shown=place % across == 0)
            direction(axes, own[0]["better"])
        return settle(figure)
