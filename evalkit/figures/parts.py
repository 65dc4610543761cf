"""What several figures share: intervals, names of models, legends, titles that fit."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from evalkit.figures.labels import labels, labels_within, shorten
from evalkit.figures.pages import Page
from evalkit.figures.style import DOTTED, INK, MUTED, Drawn, Rows, look


def new_figure(page: Page, height: float, least: float = 0.0) -> Figure:
    """A figure of the page's width.

    Args:
        height: in inches, at the size of text in papers.
        least: the smallest readable height; a figure for slides is as high as the slide if that
            fits.
    """
    inches = max(page.slide, least * page.scale) if page.slide else height * page.scale
    return Drawn(figsize=(page.width, inches), layout="constrained", facecolor="white")


def grid(
    page: Page, height: float, panels: int, least: float = 0.0
) -> tuple[Figure, list[Axes], int]:
    """Panels of one height in as many columns as fit, those of one row with the same y axis.

    height and `least`: of one panel; see `new_figure`. The third result is the number of columns.
    """
    least = least or 0.8 * height
    columns, most = min(page.many, panels), min(page.most, panels)
    while columns < most and math.ceil(panels / columns) * least * page.scale > page.slide:
        columns += 1
    lines = math.ceil(panels / columns)
    figure = new_figure(page, lines * height, lines * least)
    every = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in every[panels:]:
        axes.set_visible(False)
    return figure, every[:panels], columns


def arms(row: Mapping[str, Any]) -> tuple[float, float]:
    """Lengths of the two arms of an interval; 0 if there is none."""
    value, low, high = row["value"], row.get("low"), row.get("high")
    below = 0 if low is None else max(0.0, value - low)
    return below, 0 if high is None else max(0.0, high - value)


def interval(axes: Axes, place: float, row: Mapping[str, Any], models: Sequence[str]) -> None:
    """A horizontal interval with the marker of the row's model."""
    colour, marker, _ = look(models, row["model"])
    both = [[arm] for arm in arms(row)]
    axes.errorbar(row["value"], place, xerr=both, fmt=marker, color=colour, zorder=3)


def reference_kind(rows: Rows, from_zero: bool) -> Literal["zero", "best", ""]:
    """The line in a panel with these rows; "" for none, where there are baselines."""
    if any(row.get("baseline") is not None for row in rows):
        return ""
    ends = [row.get(name) for row in rows for name in ("value", "low", "high")]
    return "zero" if from_zero or min(end for end in ends if end is not None) <= 0 else "best"


def reference_line(axes: Axes, rows: Rows, better: str, from_zero: bool) -> None:
    """A line at zero, or a dotted line at the best value, or none. Baselines stay in view."""
    kind = reference_kind(rows, from_zero)
    ends = [row.get(name) for row in rows for name in ("value", "low", "high")]
    baselines = [row["baseline"] for row in rows if row.get("baseline") is not None]
    known = [float(end) for end in ends if end is not None]
    low, high = min(known), max(known)
    if baselines:
        low, high = min(low, *baselines), max(high, *baselines)
    if kind == "zero":
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        low, high = min(low, 0.0), max(high, 0.0)
    elif kind == "best":
        best = (min if better == "lower" else max)(row["value"] for row in rows)
        axes.axvline(best, color=MUTED, linewidth=0.8, linestyle=DOTTED, zorder=1)
    margin = 0.06 * ((high - low) or abs(high) or 1)
    axes.set_xlim(low - margin, high + margin)


def name_lines(axes: Axes, names: Sequence[str], shown: bool = True) -> None:
    """One line per name, from the top."""
    axes.set_yticks(range(len(names)), list(names) if shown else [""] * len(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)


def direction(axes: Axes, better: str, quantity: str = "") -> None:
    """The label of the x axis: the quantity, and which values are better."""
    if axes.get_xscale() == "linear":
        axes.locator_params(axis="x", nbins=5)
    before = f"{quantity}, " if quantity else ""
    if better == "lower":
        axes.set_xlabel(f"← {before}lower is better", loc="left")
    else:
        axes.set_xlabel(f"{before}higher is better →", loc="right")


def on_axis(quantity: str, better: str) -> str:
    """The label of an axis of any orientation."""
    return f"{quantity}, {better} is better"


def short_names(
    page: Page, names: Sequence[str], share: float = 0.38, size: float = 7.0
) -> dict[str, str]:
    """Labels of names that fit into a share of the width, different for different names."""
    return labels_within(names, share * 72 * page.width, size * page.scale)


def model_handles(models: Sequence[str], lines: bool = False) -> list[Line2D]:
    """The entries of a legend of models."""
    handles = []
    for model in models:
        one = look(models, model)
        style: Any = one.dash if lines else ""
        handles.append(Line2D([], [], color=one.colour, marker=one.marker, linestyle=style))
    return handles


def legend(
    figure: Figure, page: Page, handles: Sequence[Any], names: Sequence[str], **style: Any
) -> None:
    """Below the axes, in as many columns as fit; the figure grows by its height.

    On a slide it is at the right of the axes. Names that are too long are shortened further, and
    stay different.
    """
    renderer, number = _renderer(figure), len(names)
    if page.slide:
        lines = max(1, int(72 * figure.get_figheight() / (1.6 * 6.5 * page.scale)))
        across = math.ceil(number / lines)
        tries = [(most, across) for most in (24, 20, 16, 12, 8)]
        place, share = "outside right upper", 0.3 * across
    else:
        least = 2 if number > 4 else 1  # columns: many models are not one long list
        tries = [(most, column) for most in (page.characters(0.5), 22, 16, 12, 8)
                 for column in range(min(6, number), least - 1, -1)]  # fmt: skip
        tries.append((8, 1))
        place, share = "outside lower left", 0.98
    for most, column in tries:
        shown = list(labels(names, most).values())
        made = figure.legend(handles, shown, loc=place, ncols=column, columnspacing=1.2, **style)
        extent = made.get_window_extent(renderer)
        if extent.width <= share * figure.bbox.width or (most, column) == tries[-1]:
            if not page.slide:
                figure.set_figheight(figure.get_figheight() + extent.height / figure.dpi)
            return
        made.remove()


def settle(figure: Figure) -> Figure:
    """Lay out once and for all, with titles and labels inside of their panels.

    Titles begin at the left end of the panel, which is that of its longest label.
    """
    figure.draw_without_rendering()
    renderer = _renderer(figure)
    fewer = [_fewer_ticks(axes, renderer) for axes in figure.axes]
    if any(fewer):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        box = axes.get_window_extent(renderer)
        ticks = [tick for tick in axes.get_yticklabels() if tick.get_text() and axes.axison]
        left = min([box.x0, *(tick.get_window_extent(renderer).x0 for tick in ticks)])
        width, start = box.x1 - left, (left - box.x0) / box.width
        if title := axes.get_title(loc="left"):
            texts = [one for one in axes.get_children() if isinstance(one, Text)]
            made = next(one for one in texts if one.get_text() == title)
            made.set_x(start)
            _fit(made, width, renderer)
        label = axes.xaxis.label
        if label.get_horizontalalignment() == "left":
            label.set_x(start)
        alone = len(figure.axes) == 1  # a label may then be longer than its axis
        _fit(label, figure.bbox.width - left if alone else width, renderer)
        _fit(axes.yaxis.label, max(box.height, 0.8 * figure.bbox.height), renderer)
        _inside(label, axes, renderer)
    return figure


def _fewer_ticks(axes: Axes, renderer: RendererAgg) -> bool:
    """Fewer ticks of a linear x axis, until their labels have a space between them.

    Returns whether there are fewer now.
    """
    for most in (4, 3, 2):
        low, high = axes.get_xlim()
        drawn = [one.label1 for one in axes.xaxis.get_major_ticks() if low <= one.get_loc() <= high]
        ends = sorted((box.x0, box.x1) for box in (x.get_window_extent(renderer) for x in drawn))
        gaps = [right[0] - left[1] for left, right in itertools.pairwise(ends)]
        free = min(gaps, default=math.inf) > 4 * axes.get_figure(root=True).dpi / 72  # type: ignore
        if free or not isinstance(axes.xaxis.get_major_locator(), MaxNLocator):
            return most < 4
        axes.locator_params(axis="x", nbins=most)
    return True


def _fit(text: Text, most: float, renderer: RendererAgg) -> None:
    """Shorten a text in the middle until it is at most this long, in pixels."""
    whole, length = text.get_text(), len(text.get_text())
    while length > 8:
        extent = text.get_window_extent(renderer)
        if max(extent.width, extent.height) <= most:
            return
        length -= 1
        text.set_text(shorten(whole, length))


def _inside(text: Text, axes: Axes, renderer: RendererAgg) -> None:
    """Move a label of an x axis along the axis into the figure."""
    if not text.get_text():
        return
    extent, whole = text.get_window_extent(renderer), axes.get_figure(root=True)
    assert whole is not None
    shift = max(0.0, 1 - extent.x0) - max(0.0, extent.x1 - whole.bbox.width + 1)
    if shift:
        text.set_x(text.get_position()[0] + shift / axes.bbox.width)


def _renderer(figure: Figure) -> RendererAgg:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    return FigureCanvasAgg(figure).get_renderer()
