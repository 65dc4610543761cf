"""Rows of numbers to matplotlib figures, one function per figure.

Every model has its own colour, marker and line style, so that a figure is readable in grey. A row
is a plain dict; the same rows are in the .csv beside the figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from evalkit.report.chart_style import COLOURS, DOTTED, INK, MUTED, Rows, look, styled
from evalkit.report.labels import labels, shorten

# Label, colour and hatching of each outcome.
OUTCOMES = {
    "ok": ("image", "#009e73", ""),
    "refused": ("refused", "#e69f00", "////"),
    "failed": ("failed", "#d55e00", "xxxx"),
    "missing": ("missing", MUTED, "...."),
}
PANEL_WIDTH = 3.3  # inches: one column of a two-column paper, and the width of a phone
NAME, TITLE = 22, 48  # characters that fit beside a line, and above a panel
_BAR: dict[str, Any] = {"markersize": 4.5, "markeredgewidth": 0, "elinewidth": 1.3, "capsize": 0}


@styled
def forest(rows: Rows, models: Sequence[str]) -> Figure:
    """Small multiples, one per metric: the value of each model and its interval.

    Rows: metric, encoder, reference, title, better, model, value, low, high, from_zero (of the
    axis) and baseline (finite-sample, or None).
    """
    panels: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        panels.setdefault((row["metric"], row["encoder"], row["reference"]), []).append(row)
    columns = min(2, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = _figure(lines * (0.62 + 0.21 * len(models)), columns)
    grid = figure.subplots(lines, columns, squeeze=False).flat
    for axes, chosen in zip(grid, panels.values(), strict=False):
        for row in chosen:
            place = models.index(row["model"])
            _interval(axes, place, row, models)
            if row.get("baseline") is not None:
                axes.vlines(row["baseline"], place - 0.34, place + 0.34, color=INK, linewidth=1.2)
        title, encoder = chosen[0]["title"], chosen[0]["encoder"]
        names = (title, "" if f"({encoder}" in title else encoder)
        axes.set_title(shorten(" · ".join(filter(None, names)), 44))
        _reference_line(axes, chosen)
        _name_lines(axes, models)
        _direction(axes, chosen[0]["better"])
    for axes in figure.axes[len(panels) :]:
        axes.set_visible(False)
    return figure


@styled
def distribution(rows: Rows, models: Sequence[str], title: str, better: str) -> Figure:
    """Empirical distribution of a score per image. Rows: model, value."""
    figure = _figure(2.5)
    axes = figure.subplots()
    names = labels(models, NAME)
    for model in models:
        values = sorted(float(row["value"]) for row in rows if row["model"] == model)
        if not values:
            continue
        colour, marker, dash = look(models, model)
        axes.ecdf(values, color=colour, linestyle=dash, linewidth=1.2, label=names[model])
        median = values[(len(values) - 1) // 2]
        axes.plot([median], [0.5], marker, color=colour, markersize=5, markeredgewidth=0)
    axes.axhline(0.5, color=MUTED, linewidth=0.6, linestyle=DOTTED, zorder=1)
    axes.set_title(shorten(title, TITLE))
    axes.set_ylabel("share of images at or below")
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    _direction(axes, better)
    _legend(figure, *axes.get_legend_handles_labels())
    return figure


@styled
def by_group(rows: Rows, models: Sequence[str], title: str, better: str) -> Figure:
    """Mean score and interval of each prompt group, the models side by side.

    Rows: group, prompts (their number), model, value, low, high, count (of images), overall (the
    mean of the model over all prompts).
    """
    groups = list(dict.fromkeys(row["group"] for row in rows))
    step = min(0.2, 0.7 / max(1, len(models)))
    figure = _figure(0.85 + len(groups) * max(0.24, 0.13 * len(models)))
    axes = figure.subplots()
    for row in rows:
        shift = (models.index(row["model"]) - (len(models) - 1) / 2) * step
        _interval(axes, groups.index(row["group"]) + shift, row, models)
    counts = {row["group"]: row["prompts"] for row in rows}
    names = labels(groups, NAME)
    axes.set_yticks(range(len(groups)), [f"{names[group]} ({counts[group]})" for group in groups])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.set_title(shorten(title, TITLE))
    for model, mean in {row["model"]: row["overall"] for row in rows}.items():
        colour = look(models, model).colour
        axes.axvline(mean, color=colour, linewidth=0.9, linestyle=DOTTED, zorder=1)
    _direction(axes, better)
    looks = [look(models, model) for model in models]
    style = {"linestyle": "", "markersize": 4.5, "markeredgewidth": 0}
    handles = [Line2D([], [], color=one.colour, marker=one.marker, **style) for one in looks]
    _legend(figure, handles, list(labels(models, NAME).values()))
    return figure


@styled
def baseline(rows: Rows, models: Sequence[str], title: str, better: str) -> Figure:
    """A metric of the models and its finite-sample baseline, against the number of images.

    Rows: kind ("baseline", "extrapolated" or "model"), model, count, value, low, high.
    """
    figure = _figure(2.5)
    axes = figure.subplots()
    for kind, line in (("baseline", "-"), ("extrapolated", (0, (3, 2)))):
        points = sorted((row["count"], row["value"]) for row in rows if row["kind"] == kind)
        if points:
            style: dict[str, Any] = {}
            if kind == "baseline":
                style = {"marker": "o", "label": "real images"}
            axes.plot(
                *zip(*points, strict=True),
                color=MUTED, linewidth=1.2, linestyle=line, markersize=3, markeredgewidth=0,
                **style,
            )  # fmt: skip
    names = labels(models, NAME)
    for row in rows:
        if row["kind"] == "model":
            colour, marker, _ = look(models, row["model"])
            name, arms = names[row["model"]], [[arm] for arm in _arms(row)]
            shift = 1.05 ** (
                models.index(row["model"]) - (len(models) - 1) / 2
            )  # bars side by side
            place = row["count"] * shift
            axes.errorbar(place, row["value"], arms, fmt=marker, color=colour, label=name, **_BAR)
    counts = sorted({int(row["count"]) for row in rows})
    ticks: list[int] = []
    for count in counts:
        if not ticks or count > 1.4 * ticks[-1]:
            ticks.append(count)
    axes.set_xscale("log")
    axes.set_xlim(left=0.75 * counts[0])
    if all(row["value"] >= 0 for row in rows):
        axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.set_xticks(ticks, [f"{count:,}" for count in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("number of images")
    axes.set_ylabel("← lower is better" if better == "lower" else "higher is better →")
    axes.set_title(shorten(title, TITLE))
    _legend(figure, *axes.get_legend_handles_labels())
    return figure


@styled
def outcomes(rows: Rows, models: Sequence[str]) -> Figure:
    """The outcome of every request. Rows: model, outcome (a key of OUTCOMES), count."""
    figure = _figure(0.85 + 0.24 * len(models))
    axes = figure.subplots()
    left = dict.fromkeys(models, 0)
    for outcome, (label, colour, hatch) in OUTCOMES.items():
        chosen = [row for row in rows if row["outcome"] == outcome and row["count"]]
        if not chosen and outcome != "ok":
            continue
        places = [models.index(row["model"]) for row in chosen]
        starts = [left[row["model"]] for row in chosen]
        counts = [row["count"] for row in chosen]
        style = {"color": colour, "hatch": hatch, "edgecolor": "#ffffff", "linewidth": 0.5}
        axes.barh(places, counts, 0.56, starts, label=label, **style)
        for row in chosen:
            left[row["model"]] += row["count"]
    for model, total in left.items():
        made = sum(row["count"] for row in rows if row["model"] == model and row["outcome"] == "ok")
        text, place = f"{made:,} of {total:,}", (total, models.index(model))
        axes.annotate(
            text, place, (4, 0), textcoords="offset points", va="center", fontsize=6.5, color=MUTED
        )
    axes.set_xlim(0, max([1, *left.values()]) * 1.22)
    axes.set_title("Outcome of every request")
    axes.set_xlabel("requests")
    _name_lines(axes, models)
    figure.legend(loc="outside lower left", ncols=4, handlelength=1.2, columnspacing=1.2)
    return figure


@styled
def speed(rows: Rows, models: Sequence[str]) -> Figure:
    """Time per image: the median and the range from the 5th to the 95th percentile.

    Rows: model, value, low, high, in seconds. Below 0.1 s the axis is in milliseconds.
    """
    figure = _figure(0.7 + 0.24 * len(models))
    axes = figure.subplots()
    unit = 1000 if max(row["high"] for row in rows) < 0.1 else 1
    rows = [{**row, **{end: row[end] * unit for end in ("value", "low", "high")}} for row in rows]
    for row in rows:
        _interval(axes, models.index(row["model"]), row, models)
    smallest, largest = min(row["low"] for row in rows), max(row["high"] for row in rows)
    if 0 < 30 * smallest < largest:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")  # the default is mathematics, which is not parsed
        axes.xaxis.set_minor_formatter("")
    else:
        axes.set_xlim(0, largest * 1.08)
    axes.set_title("Milliseconds per image" if unit == 1000 else "Seconds per image")
    _name_lines(axes, models)
    _direction(axes, "lower")
    return figure


@styled
def training_curve(rows: Rows, title: str) -> Figure:
    """Small multiples, one per column: the record of a training over its steps.

    Rows: step and the columns, all numbers.
    """
    columns_of_rows = dict.fromkeys(name for row in rows for name in row)
    names = [name for name in columns_of_rows if name not in ("step", "seconds")]
    columns = min(3, len(names))
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(2.2 * columns, 1.35 * lines + 0.3), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    for axes, name in zip(figure.subplots(lines, columns, squeeze=False).flat, names, strict=False):
        points = zip(*((row["step"], row[name]) for row in rows if name in row), strict=True)
        axes.plot(*points, color=COLOURS[0], linewidth=1.1, marker="o", markersize=2)
        axes.set_title(name.replace("_", " "))
        axes.grid(axis="y")
    for axes in figure.axes[len(names) :]:
        axes.set_visible(False)
    return figure


# --- parts ----------------------------------------------------------------------------------------
def _figure(height: float, columns: int = 1) -> Figure:
    return Figure(figsize=(PANEL_WIDTH * columns, height), layout="constrained")


def _arms(row: Mapping[str, Any]) -> tuple[float, float]:
    """Lengths of the two arms of an interval; 0 if there is none."""
    value, low, high = row["value"], row.get("low"), row.get("high")
    below = 0 if low is None else max(0.0, value - low)
    return below, 0 if high is None else max(0.0, high - value)


def _interval(axes: Axes, place: float, row: Mapping[str, Any], models: Sequence[str]) -> None:
    colour, marker, _ = look(models, row["model"])
    arms = [[arm] for arm in _arms(row)]
    axes.errorbar(row["value"], place, xerr=arms, fmt=marker, color=colour, **_BAR)


def _reference_line(axes: Axes, rows: Rows) -> None:
    """A line at zero, or a dotted line at the best value. Baselines stay in view."""
    ends = [row.get(name) for row in rows for name in ("value", "low", "high")]
    baselines = [row["baseline"] for row in rows if row.get("baseline") is not None]
    known = [float(end) for end in ends if end is not None]
    low, high = min(known), max(known)
    if baselines:
        low, high = min(low, *baselines), max(high, *baselines)
    elif low <= 0 or rows[0].get("from_zero"):
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        low, high = min(low, 0.0), max(high, 0.0)
    else:
        best = (min if rows[0].get("better") == "lower" else max)(row["value"] for row in rows)
        axes.axvline(best, color=MUTED, linewidth=0.8, linestyle=DOTTED, zorder=1)
    margin = 0.06 * ((high - low) or abs(high) or 1)
    axes.set_xlim(low - margin, high + margin)


def _name_lines(axes: Axes, models: Sequence[str]) -> None:
    axes.set_yticks(range(len(models)), list(labels(models, NAME).values()))
    axes.set_ylim(len(models) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)


def _direction(axes: Axes, better: str) -> None:
    if axes.get_xscale() == "linear":
        axes.locator_params(axis="x", nbins=6)
    if better == "lower":
        axes.set_xlabel("← lower is better", loc="left")
    else:
        axes.set_xlabel("higher is better →", loc="right")


def _legend(figure: Figure, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Below the axes, in as many columns as fit."""
    columns = 60 // (max(map(len, names), default=0) + 8)
    columns = max(1, min(columns, len(names)))
    figure.legend(handles, names, loc="outside lower left", ncols=columns, handlelength=2.4)
