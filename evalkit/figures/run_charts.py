"""What a run cost and returned: outcomes of requests, time per image, finite-sample baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from evalkit.figures.parts import (
    arms,
    direction,
    interval,
    legend,
    model_handles,
    name_lines,
    new_figure,
    settle,
    short_names,
)
from evalkit.figures.style import MUTED, Rows, drawing, look

# Label, colour and hatching of each outcome.
OUTCOMES = {
    "ok": ("image", "#009e73", ""),
    "refused": ("refused", "#e69f00", "////"),
    "failed": ("failed", "#d55e00", "xxxx"),
    "missing": ("missing", MUTED, "...."),
}


def baseline(
    rows: Rows, models: Sequence[str], title: str, better: str, width: str = "page"
) -> Figure:
    """A metric of the models and its finite-sample baseline, against the number of images.

    Rows: kind ("baseline", "extrapolated" or "model"), model, count, value, low, high.
    """
    with drawing(width) as page:
        figure = new_figure(page, 2.1)
        axes = figure.subplots()
        handles, names = [], []
        for kind, line in (("baseline", "-"), ("extrapolated", (0, (3, 2)))):
            points = sorted((row["count"], row["value"]) for row in rows if row["kind"] == kind)
            if points:
                style: dict[str, Any] = {"marker": "o"} if kind == "baseline" else {}
                [drawn] = axes.plot(
                    *zip(*points, strict=True),
                    color=MUTED, linewidth=1.2, linestyle=line, markersize=3, **style,
                )  # fmt: skip
                if kind == "baseline":
                    handles, names = [drawn], ["real images"]
        shown = [row for row in rows if row["kind"] == "model"]
        for row in shown:
            colour, marker, _ = look(models, row["model"])
            # Side by side, where the models have the same number of images.
            shift = 1.05 ** (models.index(row["model"]) - (len(models) - 1) / 2)
            bars = [[arm] for arm in arms(row)]
            axes.errorbar(row["count"] * shift, row["value"], bars, fmt=marker, color=colour)
        _log_counts(axes, sorted({int(row["count"]) for row in rows}))
        if all(row["value"] >= 0 for row in rows):
            axes.set_ylim(bottom=0)
        axes.set_ylabel("← lower is better" if better == "lower" else "higher is better →")
        axes.set_title(title)
        drawn_models = [model for model in models if model in {row["model"] for row in shown}]
        own = dict(zip(models, model_handles(models), strict=True))
        handles += [own[model] for model in drawn_models]
        legend(figure, page, handles, [*names, *drawn_models])
        return settle(figure)


def _log_counts(axes: Any, counts: Sequence[int]) -> None:
    """A logarithmic axis of numbers of images, with ticks at some of them."""
    ticks: list[int] = []
    for count in counts:
        if not ticks or count > 1.4 * ticks[-1]:
            ticks.append(count)
    axes.set_xscale("log")
    axes.set_xlim(left=0.75 * counts[0])
    axes.grid(axis="y")
    axes.set_xticks(ticks, [f"{count:,}" for count in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("number of images")


def outcomes(rows: Rows, models: Sequence[str], width: str = "page") -> Figure:
    """The outcome of every request. Rows: model, outcome (a key of OUTCOMES), count."""
    with drawing(width) as page:
        figure = new_figure(page, 0.6 + 0.24 * len(models))
        axes = figure.subplots()
        left = dict.fromkeys(models, 0)
        handles, names = [], []
        for outcome, (label, colour, hatch) in OUTCOMES.items():
            chosen = [row for row in rows if row["outcome"] == outcome and row["count"]]
            if not chosen and outcome != "ok":
                continue
            places = [models.index(row["model"]) for row in chosen]
            starts = [left[row["model"]] for row in chosen]
            counts = [row["count"] for row in chosen]
            style = {"color": colour, "hatch": hatch, "edgecolor": "#ffffff", "linewidth": 0.5}
            handles.append(axes.barh(places, counts, 0.56, starts, **style))
            names.append(label)
            for row in chosen:
                left[row["model"]] += row["count"]
        for model, total in left.items():
            made = sum(
                row["count"] for row in rows if row["model"] == model and row["outcome"] == "ok"
            )
            axes.annotate(
                f"{made:,} of {total:,}", (total, models.index(model)), (4, 0),
                textcoords="offset points", va="center", fontsize=6.5 * page.scale, color=MUTED,
            )  # fmt: skip
        axes.set_xlim(0, max([1, *left.values()]) * 1.28)
        axes.set_title("Outcome of every request")
        axes.set_xlabel("requests")
        name_lines(axes, list(short_names(page, models).values()))
        legend(figure, page, handles, names, handlelength=1.2)
        return settle(figure)


def speed(rows: Rows, models: Sequence[str], width: str = "page") -> Figure:
    """Time per image: the median and the range from the 5th to the 95th percentile.

    Rows: model, value, low, high, in seconds. Below 0.1 s the axis is in milliseconds.
    """
    with drawing(width) as page:
        figure = new_figure(page, 0.7 + 0.24 * len(models))
        axes = figure.subplots()
        unit = 1000 if max(row["high"] for row in rows) < 0.1 else 1
        rows = [
            {**row, **{end: row[end] * unit for end in ("value", "low", "high")}} for row in rows
        ]
        for row in rows:
            interval(axes, models.index(row["model"]), row, models)
        smallest, largest = min(row["low"] for row in rows), max(row["high"] for row in rows)
        if 0 < 30 * smallest < largest:
            axes.set_xscale("log")
            # The default is mathematics, which is not parsed.
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("")
        else:
            axes.set_xlim(0, largest * 1.08)
        axes.set_title("Milliseconds per image" if unit == 1000 else "Seconds per image")
        name_lines(axes, list(short_names(page, models).values()))
        direction(axes, "lower")
        return settle(figure)
