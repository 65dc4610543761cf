"""What raters say: win rates of pairs, strengths, and how metrics agree with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from evalkit.core import EvalkitError
from evalkit.figures.matrix import matrix_figure
from evalkit.figures.metric_dots import COLUMNS as DOTS
from evalkit.figures.metric_dots import draw_dots
from evalkit.figures.parts import grid, settle
from evalkit.figures.rows import (
    MINUS,
    RATINGS,
    Data,
    Row,
    models_of,
    on_all_prompts,
    rows_of,
    title_of,
)
from evalkit.figures.style import COLOURS, INK, MUTED, drawing

if TYPE_CHECKING:
    from evalkit.statistics.concordance import Value

WIN_RATES = ("metric", "model_a", "model_b", "value_a", "verdict")
PAIRS = ("prompt", "metric", "difference", "raters", "preference")
RATED = "`run.frame()` of a run with ratings"
COMPARED = '`run.frame("comparisons")` of a run with ratings of pairs'
PAIRED = '`run.frame("pairs")` of a run with ratings and scores per image'


def strengths(
    frame: Data,
    *,
    width: str = "icml",
    columns: str = "one",
    models: Sequence[str] | None = None,
) -> Figure:
    """Strengths of the models with their 95% intervals; for single images, mean opinions.

    One panel per question and kind of raters. Strengths are those of Bradley and Terry on the scale
    of Elo: their mean is 0, and 400 points are odds of ten to one.

    Args:
        frame: `run.frame()` of a run with ratings.
        width: icml, cvpr, aaai, acl, neurips, iclr or slides.
        columns: one or two columns of the paper.
        models: the models, in their order from the top; all by default.

    Raises:
        EvalkitError: a column is missing, or there are no ratings.
    """
    rows = strength_rows(rows_of(frame, DOTS, RATED))
    return draw_dots(rows, models or models_of(rows), width, columns)


def strength_rows(rows: Sequence[Row]) -> list[Row]:
    """The measured rows of raters, without win rates, which say the same as strengths."""
    found = [row for row in on_all_prompts(rows) if row["metric"] in RATINGS[:3]]
    if not found:
        raise EvalkitError(
            "There are no ratings: no strengths or mean opinions.",
            f"Give {RATED}.",
            code="figures-14",
        )
    return found


def win_rates(frame: Data, *, width: str = "icml", columns: str = "one") -> Figure:
    """How often raters prefer the model of the row over that of the column, in percent.

    Ties count one half. Models are sorted by their mean win rate. A frame marks pairs that differ
    significantly.

    Args:
        frame: `run.frame("comparisons")` of a run with ratings of pairs.
        width: icml, cvpr, aaai, acl, neurips, iclr or slides.
        columns: one or two columns of the paper.

    Raises:
        EvalkitError: a column is missing, or there are no ratings of pairs.
    """
    rows = win_rate_rows(rows_of(frame, WIN_RATES, COMPARED))
    polls = list(dict.fromkeys((row.get("encoder"), row.get("reference")) for row in rows))
    if len(polls) > 1:  # one question; the others are in the frame for a second figure
        rows = [row for row in rows if (row.get("encoder"), row.get("reference")) == polls[0]]
    shares = {}
    for row in rows:
        shares[row["model_a"], row["model_b"]] = row["value_a"]
        shares[row["model_b"], row["model_a"]] = 1 - row["value_a"]
    models = models_of(rows, "model_a", "model_b")
    means = {one: np.mean([v for (a, _), v in shares.items() if a == one]) for one in models}
    models.sort(key=lambda one: -means[one])
    place = {one: number for number, one in enumerate(models)}
    framed = [
        (place[a], place[b])
        for row in rows
        if row["verdict"] in ("a better", "b better")
        for a, b in ((row["model_a"], row["model_b"]), (row["model_b"], row["model_a"]))
    ]
    values = [[shares.get((a, b)) for b in models] for a in models]
    texts = [["" if one is None else f"{100 * one:.0f}" for one in line] for line in values]
    with drawing(width, columns) as page:
        figure, axes = matrix_figure(page, models, values, texts, (0.0, 1.0), framed)
        axes.set_xlabel("row preferred over column, %", color=INK)
        return settle(figure)


def win_rate_rows(rows: Sequence[Row]) -> list[Row]:
    """The comparisons of win rates on all prompts."""
    found = [row for row in rows if row["metric"] == "win_rate" and not row.get("group")]
    if not found:
        raise EvalkitError(
            "There are no ratings of pairs: no win rates.", f"Give {COMPARED}.", code="figures-15"
        )
    return found


def metric_against_human(frame: Data, *, width: str = "icml", columns: str = "one") -> Figure:
    """Each pair of images of one prompt: the difference of a metric, and what raters prefer.

    One panel per metric and question. Up is where raters prefer the first image, right is where the
    metric does. For a study of pairs (the column `mode` is "pairwise") the vertical axis is the
    share of raters who prefer the first image, ties as one half; for others it is the difference
    of opinions. Points are moved a little up or down, since many have the same preference.

    Args:
        frame: `run.frame("pairs")`; the first image is that of `model_a`.
        width: icml, cvpr, aaai, acl, neurips, iclr or slides.
        columns: one or two columns of the paper.

    Raises:
        EvalkitError: a column is missing, or there are no pairs.
    """
    rows = rows_of(frame, PAIRS, PAIRED)
    with drawing(width, columns) as page:
        panels = list(pair_panels(rows).values())
        figure, every, _ = grid(page, 2.0, len(panels), 1.3)
        for axes, own in zip(every, panels, strict=True):
            value = np.array([row["difference"] for row in own])
            human = np.array([row["preference"] for row in own])
            pairs = of_pairs(own[0])
            if pairs:
                human = 50 * (1 + human)
            moved = (np.arange(len(own)) * 0.618034 % 1 - 0.5) * 0.1 * max(1e-9, np.ptp(human))
            axes.axhline(50 if pairs else 0, color=INK, linewidth=0.6, zorder=1)
            axes.axvline(0, color=INK, linewidth=0.6, zorder=1)
            style: dict[str, Any] = {"markersize": 3 * page.scale, "alpha": 0.55}
            axes.plot(value, human + moved, "o", color=COLOURS[0], **style)
            axes.grid(axis="y")
            axes.locator_params(nbins=5)
            axes.set_xlabel("metric prefers the first image →", loc="right")
            opinion = f"opinion, first {MINUS} second"
            axes.set_ylabel("raters who prefer the first, %" if pairs else opinion)
            axes.set_title(title_of(own[0]), pad=13 * page.scale)
            axes.annotate(
                spearman_text(spearman(own)), (0, 1), (0, 3 * page.scale), va="bottom",
                xycoords="axes fraction", textcoords="offset points",
                fontsize=6.5 * page.scale, color=MUTED,
            )  # fmt: skip
        return settle(figure)


def of_pairs(row: Row) -> bool:
    """Whether raters answered which of the two images they prefer."""
    return row.get("mode") == "pairwise"


def pair_panels(rows: Sequence[Row]) -> dict[tuple[str, ...], list[Row]]:
    """The pairs of each metric and question."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        key = (row["metric"], row.get("encoder") or "", row["raters"], row.get("study") or "")
        found.setdefault(key, []).append(row)
    return found


def spearman(rows: Sequence[Row]) -> Value:
    """Spearman's correlation over pairs, with an interval over prompts."""
    from evalkit.statistics.concordance import of_images

    prompts = {name: place for place, name in enumerate(dict.fromkeys(r["prompt"] for r in rows))}
    return of_images(
        [row["difference"] for row in rows],
        [row["preference"] for row in rows],
        np.array([prompts[row["prompt"]] for row in rows]),
    ).spearman


def spearman_text(found: Value) -> str:
    if found.value is None:
        return f"Spearman: {found.interval.method}"
    low, high = found.interval.low, found.interval.high
    ends = "no interval" if low is None else f"{low:.2f} to {high:.2f}"
    return f"Spearman {found.value:.2f} ({ends})".replace("-", MINUS)
