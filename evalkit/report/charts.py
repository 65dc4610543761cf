"""Rows of numbers to matplotlib figures, one function per figure.

Colours are Okabe and Ito's and every model has a marker and a line style of its own, so that a
figure survives a grey printer. A row is a plain dict; the same rows go into the .csv beside the
figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evalkit.report.chart_style import INK, MUTED, Rows, styled

# Okabe and Ito, without black and yellow, which vanish on one ground or the other.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")
OUTCOMES = {"ok": "#009e73", "refused": "#e69f00", "failed": "#d55e00", "missing": MUTED}
PANEL_WIDTH = (
    3.3  # inches: one column of a two-column paper, and the width of a phone in the report
)


@styled
def forest(rows: Rows, models: Sequence[str]) -> Figure:
    """Small multiples, one per metric: each model's value and its interval.

    Rows: metric, encoder, reference, title, better, model, value, low, high, zero (draw the axis
    from there) and, for FID, floor (what perfect pictures would get).
    """
    panels = list(dict.fromkeys((row["metric"], row["encoder"], row["reference"]) for row in rows))
    columns = min(2, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = _figure(height=lines * (0.62 + 0.21 * len(models)), columns=columns)
    grid = figure.subplots(lines, columns, squeeze=False).flat
    for axes, panel in zip(grid, panels, strict=False):
        chosen = [row for row in rows if (row["metric"], row["encoder"], row["reference"]) == panel]
        for row in chosen:
            place = models.index(row["model"])
            _interval(axes, place, row, models)
            if row.get("floor") is not None:
                axes.vlines(row["floor"], place - 0.34, place + 0.34, color=INK, linewidth=1.2)
        axes.set_title(
            _short(" · ".join(part for part in (chosen[0]["title"], panel[1]) if part), 44)
        )
        _reference_line(axes, chosen)
        _name_lines(axes, models)
        _direction(axes, chosen[0]["better"])
    for axes in figure.axes[len(panels) :]:
        axes.set_visible(False)
    return figure


@styled
def distribution(rows: Rows, models: Sequence[str], title: str) -> Figure:
    """Empirical distribution of a per-image score: how many of a model's images score at most x.
    Rows: model, value.
    """
    figure = _figure(height=2.3)
    axes = figure.subplots()
    for model in models:
        values = sorted(float(row["value"]) for row in rows if row["model"] == model)
        if not values:
            continue
        style = _style(models, model)
        axes.ecdf(
            values,
            color=style["color"],
            linestyle=style["dash"],
            linewidth=1.2,
            label=_short(model, 24),
        )
        middle = values[(len(values) - 1) // 2]
        axes.plot(
            [middle], [0.5], style["marker"], color=style["color"], markersize=5, markeredgewidth=0
        )
    axes.axhline(0.5, color=MUTED, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
    axes.set_title(_short(title, 48))
    axes.set_ylabel("share of images at or below")
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.legend(loc="upper left", handlelength=2.4, borderaxespad=0.2)
    _direction(axes, "higher")
    return figure


@styled
def by_group(rows: Rows, models: Sequence[str], title: str) -> Figure:
    """Mean score and interval of each prompt group, models side by side. Rows: group, model, value,
    low, high, count, overall (the model's mean over all groups).
    """
    groups = list(dict.fromkeys(row["group"] for row in rows))
    step = min(0.2, 0.7 / max(1, len(models)))
    figure = _figure(height=0.85 + len(groups) * max(0.24, 0.13 * len(models)))
    axes = figure.subplots()
    for row in rows:
        shift = (models.index(row["model"]) - (len(models) - 1) / 2) * step
        _interval(axes, groups.index(row["group"]) + shift, row, models)
    counts = {
        group: max(int(row["count"]) for row in rows if row["group"] == group) for group in groups
    }
    axes.set_yticks(
        range(len(groups)), [f"{_short(group, 22)} ({counts[group]})" for group in groups]
    )
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.set_title(_short(title, 48))
    for model, mean in {row["model"]: row["overall"] for row in rows}.items():
        axes.axvline(
            mean,
            color=_style(models, model)["color"],
            linewidth=0.9,
            linestyle=(0, (1, 2)),
            zorder=1,
        )
    _direction(axes, "higher")
    _legend(figure, models)
    return figure


@styled
def small_sample_floor(rows: Rows, models: Sequence[str], title: str) -> Figure:
    """FID of the models over the FID that perfect pictures would get at the same count.

    Rows: kind ("floor", "carried on" or "model"), model, count, value, low, high.
    """
    figure = _figure(height=2.3)
    axes = figure.subplots()
    for kind, dash, marker, label in (
        ("floor", "-", "o", "perfect pictures"),
        ("carried on", (0, (3, 2)), "", None),
    ):
        points = sorted(
            (int(row["count"]), float(row["value"])) for row in rows if row["kind"] == kind
        )
        x, y = [n for n, _ in points], [value for _, value in points]
        axes.plot(
            x,
            y,
            color=MUTED,
            linewidth=1.2,
            linestyle=dash,
            marker=marker,
            markersize=3,
            markeredgewidth=0,
            label=label,
        )
    for row in rows:
        if row["kind"] == "model":
            style = _style(models, row["model"])
            below, above = _arms(row)
            label = _short(row["model"], 24)
            axes.errorbar(
                row["count"],
                row["value"],
                [[below], [above]],
                fmt=style["marker"],
                color=style["color"],
                label=label,
                **_BAR,
            )
    axes.set_xscale("log")
    axes.set_xlim(left=0.75 * min(int(row["count"]) for row in rows))
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    ticks: list[int] = []
    for count in sorted({int(row["count"]) for row in rows}):
        if not ticks or count > 1.4 * ticks[-1]:
            ticks.append(count)
    axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("number of images")
    axes.set_ylabel("← lower is better", loc="bottom")
    axes.set_title(_short(title, 48))
    axes.legend(loc="upper right", borderaxespad=0.2)
    return figure


@styled
def outcomes(rows: Rows, models: Sequence[str]) -> Figure:
    """What came of every requested picture. Rows: model, outcome (ok, refused, failed or missing),
    count.
    """
    figure = _figure(height=0.85 + 0.24 * len(models))
    axes = figure.subplots()
    left = dict.fromkeys(models, 0)
    for outcome, colour in OUTCOMES.items():
        chosen = [row for row in rows if row["outcome"] == outcome and row["count"]]
        if not chosen and outcome != "ok":
            continue
        places = [models.index(row["model"]) for row in chosen]
        hatch = {"refused": "////", "failed": "xxxx", "missing": "...."}.get(outcome, "")
        starts = [left[row["model"]] for row in chosen]
        counts = [row["count"] for row in chosen]
        axes.barh(
            places,
            counts,
            0.56,
            starts,
            color=colour,
            hatch=hatch,
            edgecolor="#ffffff",
            linewidth=0.5,
            label=outcome,
        )
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
    axes.set_xlabel("pictures")
    _name_lines(axes, models)
    figure.legend(loc="outside lower left", ncols=4, handlelength=1.2, columnspacing=1.2)
    return figure


@styled
def speed(rows: Rows, models: Sequence[str]) -> Figure:
    """Time per picture: the median and the span from the 5th to the 95th percentile; below 0.1 s in
    milliseconds.

    Rows: model, value, low, high, in seconds.
    """
    figure = _figure(height=0.7 + 0.24 * len(models))
    axes = figure.subplots()
    unit = 1000 if max(row["high"] for row in rows) < 0.1 else 1
    rows = [{**row, **{end: row[end] * unit for end in ("value", "low", "high")}} for row in rows]
    for row in rows:
        _interval(axes, models.index(row["model"]), row, models)
    smallest, largest = min(row["low"] for row in rows), max(row["high"] for row in rows)
    if 0 < 30 * smallest < largest:
        axes.set_xscale("log")
    else:
        axes.set_xlim(0, largest * 1.08)
    axes.set_title("Milliseconds per picture" if unit == 1000 else "Seconds per picture")
    _name_lines(axes, models)
    _direction(axes, "lower")
    return figure


# --- parts
# -----------------------------------------------------------------------------------------------------------
_BAR: dict[str, Any] = {"markersize": 4.5, "markeredgewidth": 0, "elinewidth": 1.3, "capsize": 0}


@styled
def training_curve(rows: Rows, title: str) -> Figure:
    """Small multiples, one per column: a training's record over its steps. Rows: step and the
    columns, numbers all.
    """
    names = [
        name
        for name in dict.fromkeys(name for row in rows for name in row)
        if name not in ("step", "seconds")
    ]
    columns = min(3, len(names))
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(2.2 * columns, 1.35 * lines + 0.3), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    for axes, name in zip(figure.subplots(lines, columns, squeeze=False).flat, names, strict=False):
        points = [(row["step"], row[name]) for row in rows if name in row]
        axes.plot(
            *zip(*points, strict=True), color=COLOURS[0], linewidth=1.1, marker="o", markersize=2
        )
        axes.set_title(name.replace("_", " "))
        axes.grid(axis="y")
    for axes in figure.axes[len(names) :]:
        axes.set_visible(False)
    return figure


def _figure(height: float, columns: int = 1) -> Figure:
    return Figure(figsize=(PANEL_WIDTH * columns, height), layout="constrained")


def _style(models: Sequence[str], model: str) -> dict[str, str]:
    place = models.index(model)
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "dash": DASHES[place % len(DASHES)],
    }


def _arms(row: Mapping[str, Any]) -> tuple[float, float]:
    """Lengths of the two arms of an interval; 0 where there is none."""
    value, low, high = row["value"], row.get("low"), row.get("high")
    return (0 if low is None else max(0.0, value - low)), (
        0 if high is None else max(0.0, high - value)
    )


def _interval(axes: Axes, place: float, row: Mapping[str, Any], models: Sequence[str]) -> None:
    style = _style(models, row["model"])
    below, above = _arms(row)
    axes.errorbar(
        row["value"],
        place,
        xerr=[[below], [above]],
        fmt=style["marker"],
        color=style["color"],
        **_BAR,
    )


def _reference_line(axes: Axes, rows: Rows) -> None:
    """Zero where it means something; else a dotted line at the best value, to measure from. Room
    for floors where known.
    """
    ends = [
        end
        for row in rows
        for end in (row["value"], row.get("low"), row.get("high"))
        if end is not None
    ]
    floors = [row["floor"] for row in rows if row.get("floor") is not None]
    low, high = float(min(ends)), float(max(ends))
    if floors:
        low = min(low, *floors)
    elif low <= 0 or rows[0].get("zero"):
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        low, high = min(low, 0.0), max(high, 0.0)
    else:
        best = (min if rows[0].get("better") == "lower" else max)(row["value"] for row in rows)
        axes.axvline(best, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    margin = 0.06 * ((high - low) or abs(high) or 1)
    axes.set_xlim(low - margin, high + margin)


def _name_lines(axes: Axes, models: Sequence[str]) -> None:
    axes.set_yticks(range(len(models)), [_short(model, 22) for model in models])
    axes.set_ylim(len(models) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)


def _direction(axes: Axes, better: str) -> None:
    if axes.get_xscale() == "linear":
        axes.locator_params(axis="x", nbins=6)
    lower = better == "lower"
    axes.set_xlabel(
        "← lower is better" if lower else "higher is better →", loc="left" if lower else "right"
    )


def _legend(figure: Figure, models: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    styles = [_style(models, model) for model in models]
    handles = [
        Line2D(
            [],
            [],
            color=s["color"],
            marker=s["marker"],
            linestyle="",
            markersize=4.5,
            markeredgewidth=0,
        )
        for s in styles
    ]
    columns = min(4, len(models))
    figure.legend(
        handles,
        [_short(model, 22) for model in models],
        loc="outside lower left",
        ncols=columns,
        handletextpad=0.2,
    )


def _short(text: str, most: int) -> str:
    """A label for a figure: printable, one line, not longer than it has room for."""
    plain = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"
