"""Whether metrics rank the models alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from evalkit.core import EvalkitError
from evalkit.figures.matrix import matrix_figure
from evalkit.figures.metric_dots import COLUMNS, FRAME, dots_rows
from evalkit.figures.parts import settle
from evalkit.figures.rows import (
    MINUS,
    Data,
    Row,
    by_metric,
    measure_of,
    models_of,
    rows_of,
    title_of,
)
from evalkit.figures.style import INK, drawing

LEAST_MODELS = 3  # with two, any two metrics agree or disagree entirely


def metric_agreement(
    frame: Data,
    *,
    width: str = "icml",
    columns: str = "one",
    metrics: Sequence[str] | None = None,
) -> Figure:
    """Spearman's correlation of each two metrics over the models; 1 where they rank them alike.

    Better values are larger for all metrics, so FID and CLIP score agree where it is positive.
    There are no intervals: a few models are no sample of models.

    Args:
        frame: `run.frame()`, with at least three models.
        width: icml, cvpr, aaai, acl, neurips, iclr or slides.
        columns: one or two columns of the paper.
        metrics: names of metrics; those of images by default.

    Raises:
        EvalkitError: a column is missing, or there are fewer than three models or two metrics.
    """
    rows = agreement_rows(dots_rows(rows_of(frame, COLUMNS, FRAME), metrics))
    own = list(by_metric(rows).values())
    values = [[None if a is b else correlation(a, b) for b in own] for a in own]
    texts = [
        ["" if one is None else f"{one:.1f}".replace("-", MINUS) for one in line] for line in values
    ]
    with drawing(width, columns) as page:
        names = [measure_of(one[0]).title for one in own]
        if len({*names}) < len(names):
            names = [title_of(one[0]) for one in own]
        figure, axes = matrix_figure(page, names, values, texts, (-1.0, 1.0))
        axes.set_xlabel(f"Spearman's correlation over {len(models_of(rows))} models", color=INK)
        return settle(figure)


def agreement_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows of models that have all metrics, where there are enough of both."""
    own = by_metric(rows)
    everywhere = [
        model
        for model in models_of(rows)
        if all(model in models_of(group) for group in own.values())
    ]
    if len(everywhere) < LEAST_MODELS or len(own) < 2:
        raise EvalkitError(
            f"Models with all metrics: {len(everywhere)}, metrics: {len(own)}; expected at least"
            f" {LEAST_MODELS} models and 2 metrics.",
            "Compare more models.",
            code="figures-8",
        )
    return [row for row in rows if row["model"] in everywhere]


def correlation(one: Sequence[Row], other: Sequence[Row]) -> float | None:
    """Spearman's correlation of two metrics over the models; None if one is equal for all."""
    models = models_of(one)
    sides = []
    for rows in (one, other):
        value = {row["model"]: row["value"] for row in rows}
        sign = -1.0 if rows[0]["better"] == "lower" else 1.0
        sides.append(np.array([sign * value[model] for model in models]))
    if any(np.ptp(side) == 0 for side in sides):
        return None
    return float(np.asarray(stats.spearmanr(*sides))[0])
