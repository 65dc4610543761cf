"""Two metrics against each other, with joint confidence regions where they are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from scipy import stats

from evalkit.core import EvalkitError
from evalkit.figures.parts import legend, model_handles, new_figure, on_axis, settle
from evalkit.figures.rows import (
    MINUS,
    Data,
    Row,
    by_metric,
    measure_of,
    models_of,
    on_all_prompts,
    rows_of,
)
from evalkit.figures.style import DOTTED, MUTED, drawing, look

COLUMNS = ("model", "x", "x_title", "x_better", "y", "y_title", "y_better")
FRAME = "`run.frame()`, or the rows that `evalkit figures` writes to pareto.csv"
MOST_FILLED = 6  # ellipses of more models are outlines only


def pareto(
    frame: Data,
    *,
    x: str = "fid",
    y: str = "clip_score",
    width: str = "icml",
    columns: str = "one",
    models: Sequence[str] | None = None,
) -> Figure:
    """Two metrics of each model. The dotted line joins the models that no other one dominates.

    A model that is so far away that the others would be one spot is at the edge, with its values.

    Ellipses are joint 95% confidence regions (Hotelling). They need the covariance of both metrics,
    which `run.frame()` does not have: it gives crosses, the interval of each metric by itself.

    Args:
        frame: `run.frame()`; or rows with model, x, y, their titles and better directions, low and
            high ends (`x_low`, …), and for ellipses `variance_x`, `variance_y`, `covariance` of the
            values and the number of `groups` that were left out.
        x: name of the metric on the horizontal axis, for `run.frame()`.
        y: name of the metric on the vertical axis.
        width: icml, cvpr, aaai, acl, neurips, iclr or slides.
        columns: one or two columns of the paper.
        models: all models, which have the same colours in figures of the same list.

    Raises:
        EvalkitError: a column is missing, or no model has both metrics.
    """
    rows = rows_of(frame, ("model",), FRAME)
    if "metric" in rows[0]:
        rows = pareto_rows(rows, x, y)
    rows = rows_of(rows, COLUMNS, FRAME)
    models = list(models or models_of(rows))
    with drawing(width, columns) as page:
        figure = new_figure(page, min(2.4, 0.75 * page.width))
        axes = figure.subplots()
        outside = far_away(rows)
        for row in rows:
            if row not in outside:
                _region(axes, row, models, len(rows) <= MOST_FILLED)
        axes.margins(0.06)
        axes.autoscale_view()
        axes.set_autoscale_on(False)
        for row in outside:
            _at_the_edge(axes, row, models, 6 * page.scale)
        front = front_of(rows)
        if len(front) > 1:
            points = sorted((row["x"], row["y"]) for row in front)
            axes.plot(*zip(*points, strict=True), color=MUTED, linestyle=DOTTED, zorder=1)
        axes.grid(axis="both")
        axes.locator_params(nbins=5)
        for name, label in (("x", axes.set_xlabel), ("y", axes.set_ylabel)):
            label(on_axis(rows[0][f"{name}_title"], rows[0][f"{name}_better"]))
        if len(rows) > 1:
            drawn = models_of(rows)
            handles = dict(zip(models, model_handles(models), strict=True))
            legend(figure, page, [handles[one] for one in drawn], drawn)
        else:
            axes.set_title(rows[0]["model"])
        return settle(figure)


def pareto_rows(rows: Sequence[Row], x: str, y: str) -> list[Row]:
    """One row per model that has both metrics, with the interval of each by itself."""
    sides = {}
    for name, metric in (("x", x), ("y", y)):
        own = by_metric(on_all_prompts(rows, metric))
        if not own:
            known = ", ".join(dict.fromkeys(row["metric"] for row in on_all_prompts(rows)))
            raise EvalkitError(f"No model has a value of {metric}, only of {known or 'nothing'}.",
                               f"Name one of them as {name}.", code="figures-12")  # fmt: skip
        sides[name] = {row["model"]: row for row in next(iter(own.values()))}
    found = []
    for model in sides["x"]:
        if model in sides["y"]:
            made: dict[str, Any] = {"model": model}
            for name, side in sides.items():
                row = side[model]
                made |= {
                    name: row["value"],
                    f"{name}_low": row["low"],
                    f"{name}_high": row["high"],
                    f"{name}_title": measure_of(row).title,
                    f"{name}_encoder": row.get("encoder") or "",
                    f"{name}_better": row["better"],
                    f"{name}_count": row.get("count"),
                }
            found.append(made)
    if not found:
        raise EvalkitError(f"No model has both {x} and {y}.", f"Give {FRAME}.", code="figures-13")
    return found


def front_of(rows: Sequence[Row]) -> list[Row]:
    """The models that no other one dominates: as good in both metrics and better in one."""

    def signed(row: Row) -> tuple[float, float]:
        x, y = (-1 if row[f"{name}_better"] == "lower" else 1 for name in ("x", "y"))
        return x * row["x"], y * row["y"]

    points = [signed(row) for row in rows]
    return [
        row
        for row, (a, b) in zip(rows, points, strict=True)
        if not any(c >= a and d >= b and (c, d) != (a, b) for c, d in points)
    ]


def far_away(rows: Sequence[Row]) -> list[Row]:
    """Few models that are so far from the others that these would be one spot; mostly none.

    At most a third of the models, without which the others take less than a fifth of an axis.
    """
    outside: list[Row] = []
    for name in ("x", "y"):
        ranked = sorted((row for row in rows if row not in outside), key=lambda row: row[name])
        whole = _span(ranked, name)
        for number in range(1, len(rows) // 3 - len(outside) + 1):
            ends = (ranked[:number], ranked[number:]), (ranked[-number:], ranked[:-number])
            alone = next((far for far, near in ends if 0 < 5 * _span(near, name) < whole), None)
            if alone is not None:
                outside += alone
                break
    return [row for row in rows if row in outside]


def _span(rows: Sequence[Row], name: str) -> float:
    ends = [_ends(row, name) for row in rows]
    return max(high for _, high in ends) - min(low for low, _ in ends)


def _ends(row: Row, name: str) -> tuple[float, float]:
    """The ends of a model's ellipse, or of its interval, on one axis."""
    if row.get("covariance") is not None:
        half = radius(int(row["groups"])) * float(np.sqrt(row[f"variance_{name}"]))
        return row[name] - half, row[name] + half
    known = [row[name], row.get(f"{name}_low"), row.get(f"{name}_high")]
    found = [float(one) for one in known if one is not None]
    return min(found), max(found)


def _at_the_edge(axes: Axes, row: Row, models: Sequence[str], size: float) -> None:
    """A model outside of the axes: its marker at the nearest place inside, and its values."""
    colour, marker, _ = look(models, row["model"])
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    place = min(max(row["x"], left), right), min(max(row["y"], bottom), top)
    axes.plot(*place, marker, color=colour, clip_on=False, zorder=5)
    beyond = place[0] > (left + right) / 2, place[1] > (bottom + top) / 2
    text = f"({row['x']:.4g}, {row['y']:.4g})".replace("-", MINUS)
    axes.annotate(
        f"{text} →" if row["x"] > right else f"← {text}" if row["x"] < left else text, place,
        (-size if beyond[0] else size, -size if beyond[1] else size), fontsize=size,
        textcoords="offset points", ha="right" if beyond[0] else "left",
        va="top" if beyond[1] else "bottom", color=MUTED, zorder=5,
    )  # fmt: skip


def radius(groups: int, level: float = 0.95) -> float:
    """The region is this many standard errors wide; Hotelling's T squared of two values.

    groups: how many were left out in turn for the covariance.
    """
    freedom = groups - 1
    return float(np.sqrt(2 * freedom / (freedom - 1) * stats.f.ppf(level, 2, freedom - 1)))


def _region(axes: Axes, row: Row, models: Sequence[str], filled: bool) -> None:
    colour, marker, dash = look(models, row["model"])
    axes.plot([row["x"]], [row["y"]], marker, color=colour, zorder=4)
    if row.get("covariance") is not None:
        matrix = np.array([[row["variance_x"], row["covariance"]],
                           [row["covariance"], row["variance_y"]]])  # fmt: skip
        lengths, directions = np.linalg.eigh(matrix)
        across, along = 2 * radius(int(row["groups"])) * np.sqrt(np.maximum(lengths, 0.0))
        angle = float(np.degrees(np.arctan2(directions[1, 1], directions[0, 1])))
        place = {"xy": (row["x"], row["y"]), "width": along, "height": across, "angle": angle}
        if filled:
            axes.add_patch(Ellipse(**place, facecolor=colour, alpha=0.15, linewidth=0, zorder=2))
        edge = {"facecolor": "none", "edgecolor": colour, "linestyle": dash, "linewidth": 0.9}
        axes.add_patch(Ellipse(**place, **edge, zorder=3))
        return
    for name, other in (("x", "y"), ("y", "x")):
        low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
        if low is not None and high is not None:
            ends = {name: [low, high], other: [row[other]] * 2}
            axes.plot(ends["x"], ends["y"], color=colour, zorder=3)
