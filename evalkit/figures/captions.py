"""What a figure shows, in the words of a caption: what the bars are, and of how many images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evalkit.figures.collect import NO_FEATURES, Source
from evalkit.figures.fid_by_count import line
from evalkit.figures.image_grid import SEED
from evalkit.figures.metric_agreement import LEAST_MODELS
from evalkit.figures.raters import pair_panels, spearman, spearman_text
from evalkit.figures.rows import (
    MINUS,
    Row,
    by_metric,
    measure_of,
    models_of,
    short_method,
    title_of,
)

LEVEL = "95%"


def caption(name: str, rows: Sequence[Row], source: Source) -> str:
    """The caption of the figure of this name, for these rows."""
    return _CAPTIONS[name](rows, source)


def _metrics(rows: Sequence[Row], source: Source) -> str:
    said = f"Values of {_number(models_of(rows), 'model')}{_of(_counts(rows, 'count'), 'images')}. "
    said += _bars(rows)
    if any(row.get("baseline") is not None for row in rows):
        said += " Short vertical lines: finite-sample baselines, the values of as many real images."
    return said + " Solid lines: zero. Dotted lines: the best value."


def _differences(rows: Sequence[Row], source: Source) -> str:
    said = (
        f"Differences between models (first {MINUS} second) on the same prompts"
        f"{_of(_counts(rows, 'prompts'), 'prompts')}. Thick bars: {LEVEL} intervals"
        f" ({_methods(rows, 'method')}). Thin bars: intervals adjusted for all comparisons of the"
        " run (Holm). Filled markers: statistically significant differences (Holm, 5%)."
    )
    if any(row["margin"] is not None for row in rows):
        gate = (source.run.path / "gate.json").is_file()
        origin = "of gate.json, else " if gate else ""
        said += (
            f" Grey bands: changes within the margin of the gate ({origin}5% of the second model's"
            " value, 0.02 for shares)."
        )
    none = [title_of(own[0]) for own in by_metric(rows).values() if own[0]["margin"] is None]
    return said + (f" Without a margin: {', '.join(none)}." if none else "")


def _pareto(rows: Sequence[Row], source: Source) -> str:
    x, y = rows[0]["x_title"], rows[0]["y_title"]
    said = f"{x} and {y} of {_number(rows, 'model')}{_of(_counts(rows, 'count'), 'images')}. "
    if all(row.get("covariance") is not None for row in rows):
        number = max(int(row["groups"]) for row in rows)
        said += (
            f"Ellipses: joint {LEVEL} confidence regions (jackknife that leaves the same {number}"
            " groups of prompts out of both metrics, Hotelling's T²)."
        )
    else:
        said += (
            f"Crosses: the {LEVEL} interval of each metric by itself. They are no joint regions:"
            f" the covariance of the two metrics is not known here ({NO_FEATURES})."
        )
    return said + " Dotted line: the models that no other model dominates."


def _groups(rows: Sequence[Row], source: Source) -> str:
    own = [row for row in rows if row["group"]]
    title = measure_of(own[0]).title
    said = f"{title} ({own[0]['encoder']}) by group of prompts (number of prompts in parentheses)"
    said += f"{_of(_counts(own, 'count'), 'images per model and group')}. {_bars(own)}"
    return said + " Dotted lines: the values on all prompts."


def _scores(rows: Sequence[Row], source: Source) -> str:
    counts = [sum(row["model"] == model for row in rows) for model in models_of(rows)]
    side = "right" if rows[0]["better"] == "higher" else "left"
    return (
        f"Cumulative distribution of the {measure_of(rows[0]).title} ({rows[0]['encoder']}) of all"
        f" images{_of(_span(counts), 'images per model')}. A curve further to the {side} has better"
        " scores; markers are medians. There are no error bars."
    )


def _fid_by_count(rows: Sequence[Row], source: Source) -> str:
    counts = [row["count"] for row in rows]
    ends = {one: line([r for r in rows if r["model"] == one])[0] for one in models_of(rows)}
    below = [f"{one} ({end:.1f})".replace("-", MINUS) for one, end in ends.items() if end < 0]
    said = (
        f"FID of random subsets of the images (N = {min(counts):,} to {max(counts):,}; one subset"
        " per point, a larger one contains smaller ones). Lines: least squares in 1/N. Open"
        " markers: their value at infinite N, FID∞ (Chong and Forsyth 2020). There are no error"
        " bars."
    )
    if not below:
        return said
    return (
        f"{said} Below zero: {', '.join(below)}. FID is never negative, but an extrapolation can"
        " be: the images are then as close to the reference as FID∞ can tell, or too few for it."
    )


def _strengths(rows: Sequence[Row], source: Source) -> str:
    said = f"What raters say of {_number(models_of(rows), 'model')}"
    said += f"{_of(_counts(rows, 'count'), 'rated images per model')}. {_bars(rows)}"
    if any(row["metric"] == "strength" for row in rows):
        said += " Strengths are on the scale of Elo: mean 0, and 400 points are odds of ten to one."
    return f"{said} {_raters(rows)}"


def _win_rates(rows: Sequence[Row], source: Source) -> str:
    first = [row for row in rows if (row["encoder"], row["reference"])
             == (rows[0]["encoder"], rows[0]["reference"])]  # fmt: skip
    return (
        "How often, in percent, the image of the model in the row is preferred over that of the"
        " model in the column; a tie counts half"
        f"{_of(_counts(first, 'prompts'), 'prompts per pair')}."
        " Frames: statistically significant differences (Holm, 5%). The matrix has no error bars;"
        f" the .csv has the intervals. {_raters(first)}"
    )


def _human(rows: Sequence[Row], source: Source) -> str:
    panels = [
        f"{title_of(own[0])}: {spearman_text(spearman(own))}, {len(own):,} pairs,"
        f" {len({row['prompt'] for row in own}):,} prompts"
        for own in pair_panels(rows).values()
    ]
    return (
        "Pairs of images of one prompt: the difference of the metric, and the mean preference of"
        " the raters (1: all prefer the first image, for answers to pairs). In parentheses: the"
        f" {LEVEL} interval of the correlation, jackknife over groups of prompts. Points are moved"
        f" vertically by at most 5% of the range. {'; '.join(panels)}. {_raters(rows)}"
    )


def _agreement(rows: Sequence[Row], source: Source) -> str:
    return (
        f"Spearman's correlation of each two metrics over {_number(models_of(rows), 'model')}"
        f"{_of(_counts(rows, 'count'), 'images')}. All metrics are turned so that larger is better."
        f" There are no intervals: a few models are no sample of models. With {LEAST_MODELS} or 4"
        " models, a correlation of 1 is frequent by chance."
    )


def _images(rows: Sequence[Row], source: Source) -> str:
    kinds = ", ".join(dict.fromkeys(row["kind"] for row in rows))
    return (
        "The first image of each model for prompts that a rule chose, not by hand: at random"
        f" (seed {SEED}), with the best and the worst mean score of all models, and with the"
        f" largest difference between models, among {len(source.prompts):,} prompts."
        f" Shown: {kinds}."
    )


_CAPTIONS: Mapping[str, Callable[[Sequence[Row], Source], str]] = {
    "metrics": _metrics,
    "differences": _differences,
    "pareto": _pareto,
    "groups": _groups,
    "scores": _scores,
    "fid_by_count": _fid_by_count,
    "strengths": _strengths,
    "win_rates": _win_rates,
    "human": _human,
    "agreement": _agreement,
    "images": _images,
}


# --- parts ----------------------------------------------------------------------------------------
def _bars(rows: Sequence[Row]) -> str:
    """What the error bars are."""
    if not any(row.get("low") is not None for row in rows):
        return "No value has an interval."
    return f"Bars: {LEVEL} intervals ({_methods(rows, 'interval')})."


def _methods(rows: Sequence[Row], column: str) -> str:
    """The methods of the intervals, with the metrics of each where there are several."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.get("low") is not None:
            titles = found.setdefault(short_method(row.get(column) or "as given"), [])
            if (title := measure_of(row).title) not in titles:
                titles.append(title)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{', '.join(titles)}: {method}" for method, titles in found.items())


def _counts(rows: Sequence[Row], column: str) -> str:
    return _span([row[column] for row in rows if row.get(column)])


def _span(counts: Sequence[Any]) -> str:
    """`71`, or `60 to 71`."""
    known = sorted({int(count) for count in counts})
    if not known:
        return ""
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"


def _of(counts: str, what: str) -> str:
    return f" (N = {counts} {what})" if counts else ""


def _number(items: Sequence[Any], noun: str) -> str:
    return f"{len(items):,} {noun}{'' if len(items) == 1 else 's'}"


def _raters(rows: Sequence[Row]) -> str:
    """Who was asked; models that judge are not people."""
    names = dict.fromkeys(str(row.get("raters") or row.get("encoder")) for row in rows)
    models = [name for name in names if name.startswith("model:")]
    said = f"Raters and question: {', '.join(names)}."
    return said + (" Raters are models, not people." if len(models) == len(names) else "")
