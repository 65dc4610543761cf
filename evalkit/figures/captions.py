"""What a figure shows, in the words of a caption: what the bars are, and of how many images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from evalkit.figures.fid_by_count import line
from evalkit.figures.image_grid import KINDS
from evalkit.figures.metric_agreement import LEAST_MODELS
from evalkit.figures.pareto import far_away, front_of
from evalkit.figures.raters import of_pairs, pair_panels, spearman, spearman_text
from evalkit.figures.rows import MINUS, Row, by_metric, measure_of, models_of, title_of
from evalkit.figures.said import (
    LEVEL,
    bars,
    counts,
    lines,
    methods,
    number_of,
    of,
    raters,
    span,
    without,
)
from evalkit.figures.source import Source
from evalkit.scorer import QUESTIONS, QUESTIONS_MEAN


def caption(name: str, rows: Sequence[Row], source: Source) -> str:
    """The caption of the figure of this name, for these rows."""
    return _CAPTIONS[name](rows, source)


def _metrics(rows: Sequence[Row], source: Source) -> str:
    said = f"Values of {number_of(models_of(rows), 'model')}{of(counts(rows, 'count'), 'images')}. "
    return said + bars(rows) + lines(rows)


def _differences(rows: Sequence[Row], source: Source) -> str:
    said = (
        f"Differences between models (first {MINUS} second) on the same prompts"
        f"{of(counts(rows, 'prompts'), 'prompts')}. Thick bars: {LEVEL} intervals"
        f" ({methods(rows, 'method')})."
    )
    if any(row.get("low_adjusted") is not None for row in rows):
        said += " Thin bars: intervals adjusted for all comparisons of the run (Holm)."
    if any(row["verdict"] in ("a better", "b better") for row in rows):
        said += " Filled markers: statistically significant differences (Holm, 5%)."
    else:
        said += " No difference is statistically significant (Holm, 5%)."
    said += without(rows)
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
    images = span([row[name] for row in rows for name in ("x_count", "y_count") if row.get(name)])
    said = f"{x} and {y} of {number_of(rows, 'model')}{of(images, 'images')}. "
    if all(row.get("covariance") is not None for row in rows):
        number = max(int(row["groups"]) for row in rows)
        said += (
            f"Ellipses: joint {LEVEL} confidence regions (jackknife that leaves the same {number}"
            " groups of prompts out of both metrics, Hotelling's T²)."
        )
    elif any(row.get(f"{side}_low") is not None for row in rows for side in "xy"):
        said += (
            f"Crosses: the {LEVEL} interval of each metric by itself. They are no joint regions:"
            f" the covariance of the two metrics is not known ({source.no_covariance})."
        )
    else:
        said += "No value has an interval."
    if outside := far_away(rows):
        named = "; ".join(f"{row['model']} ({x} {row['x']:.4g}, {y} {row['y']:.4g})"
                          for row in outside).replace("-", MINUS)  # fmt: skip
        said += f" Outside of the axes, at their edge: {named}."
    front = len(front_of(rows)) > 1
    return said + (" Dotted line: the models that no other model dominates." if front else "")


def _groups(rows: Sequence[Row], source: Source) -> str:
    own = [row for row in rows if row["group"]]
    title = measure_of(own[0]).title
    said = f"{title} ({own[0]['encoder']}) by group of prompts (number of prompts in parentheses)"
    said += f"{of(counts(own, 'count'), 'images per model and group')}. {bars(own)}"
    if any(row["group"].startswith(QUESTIONS) for row in own):
        said += f" {QUESTIONS_MEAN}"
    return said + (" Dotted lines: the values on all prompts." if len(own) < len(rows) else "")


def _scores(rows: Sequence[Row], source: Source) -> str:
    numbers = [sum(row["model"] == model for row in rows) for model in models_of(rows)]
    side = "right" if rows[0]["better"] == "higher" else "left"
    return (
        f"Cumulative distribution of the {measure_of(rows[0]).title} ({rows[0]['encoder']}) of all"
        f" images{of(span(numbers), 'images per model')}. A curve further to the {side} has better"
        " scores; markers are medians. There are no error bars."
    )


def _fid_by_count(rows: Sequence[Row], source: Source) -> str:
    sizes = [row["count"] for row in rows]
    ends = {one: line([r for r in rows if r["model"] == one])[0] for one in models_of(rows)}
    below = [f"{one} ({end:.1f})".replace("-", MINUS) for one, end in ends.items() if end < 0]
    said = (
        f"FID of random subsets of the images (N = {min(sizes):,} to {max(sizes):,}; one subset"
        " per point, a larger one contains smaller ones). Lines: least squares in 1/N. Open"
        " markers: their value at infinite N, FID∞ (Chong and Forsyth 2020). There are no error"
        " bars."
    )
    said += _too_few_images(rows)
    if not below:
        return said
    return (
        f"{said} Horizontal line: zero. Below zero: {', '.join(below)}. FID is never negative, but"
        " an extrapolation can be: the images are then as close to the reference as FID∞ can tell,"
        " or too few for it."
    )


def _too_few_images(rows: Sequence[Row]) -> str:
    """The models whose line does not lead to FID∞, where the rows have the dimensions."""
    from evalkit.metrics.infinity import caution

    most: dict[str, Row] = {}
    for row in rows:
        most[row["model"]] = max(row, most.get(row["model"], row), key=lambda one: one["count"])
    why = {
        model: caution(fake=int(row["count"]), dimension=int(row["dimension"]))
        for model, row in most.items()
        if row.get("dimension")
    }
    concerned: dict[str, list[str]] = {}
    for model, reason in why.items():
        concerned.setdefault(reason, []).append(model)
    return "".join(
        f" FID∞ of {', '.join(models)} is no estimate: {reason}."
        for reason, models in concerned.items()
        if reason
    )


def _strengths(rows: Sequence[Row], source: Source) -> str:
    said = f"What raters say of {number_of(models_of(rows), 'model')}"
    said += f"{of(counts(rows, 'count'), 'rated images per model')}. {bars(rows)}"
    if any(row["metric"] == "strength" for row in rows):
        said += " Strengths are on the scale of Elo: mean 0, and 400 points are odds of ten to one."
    return f"{said}{lines(rows)} {raters(rows)}"


def _win_rates(rows: Sequence[Row], source: Source) -> str:
    first = [row for row in rows if (row["encoder"], row["reference"])
             == (rows[0]["encoder"], rows[0]["reference"])]  # fmt: skip
    frames = " No difference is statistically significant (Holm, 5%)."
    if any(row["verdict"] in ("a better", "b better") for row in first):
        frames = " Frames: statistically significant differences (Holm, 5%)."
    return (
        "How often, in percent, the image of the model in the row is preferred over that of the"
        " model in the column; a tie counts half"
        f"{of(counts(first, 'prompts'), 'prompts per pair')}."
        f"{frames} The matrix has no error bars; the .csv has the intervals. {raters(first)}"
    )


def _human(rows: Sequence[Row], source: Source) -> str:
    panels = [
        f"{title_of(own[0])}: {spearman_text(spearman(own))}, {len(own):,} pairs,"
        f" {len({row['prompt'] for row in own}):,} prompts"
        for own in pair_panels(rows).values()
    ]
    vertical = {
        True: "the share of raters who prefer the first image (a tie counts half)",
        False: "the raters' opinion of the first image minus that of the second",
    }
    found = dict.fromkeys(vertical[of_pairs(row)] for row in rows)
    return (
        "Pairs of images of one prompt. Horizontal axis: the difference of the metric, positive"
        f" where it prefers the first image. Vertical axis: {', or '.join(found)}."
        f" {_first_image(rows, source)} In parentheses: the"
        f" {LEVEL} interval of the correlation, jackknife over groups of prompts. Points are moved"
        f" vertically by at most 5% of the range. {'; '.join(panels)}. {raters(rows)}"
    )


def _first_image(rows: Sequence[Row], source: Source) -> str:
    """Of which model the first image of each pair is."""
    pairs = list(dict.fromkeys((row["model_a"], row["model_b"]) for row in rows))
    if len(pairs) == 1:
        return f"The first image is of {pairs[0][0]}, the second of {pairs[0][1]}."
    order = [one for one in source.models if any(one in pair for pair in pairs)]
    if all(a in order and b in order and order.index(a) < order.index(b) for a, b in pairs):
        return f"The first image is of the model that is first in: {', '.join(order)}."
    return "The first image is of `model_a` in the .csv."


def _agreement(rows: Sequence[Row], source: Source) -> str:
    return (
        f"Spearman's correlation of each two metrics over {number_of(models_of(rows), 'model')}"
        f"{of(counts(rows, 'count'), 'images')}. All metrics are turned so that larger is better."
        f" There are no intervals: a few models are no sample of models. With {LEAST_MODELS} or 4"
        " models, a correlation of 1 is frequent by chance."
    )


def _images(rows: Sequence[Row], source: Source) -> str:
    kinds = ", ".join(
        "most disagreed (largest difference between models)" if kind == KINDS[-1] else kind
        for kind in dict.fromkeys(row["kind"] for row in rows)
    )
    return (
        "The first image of each model for prompts that a rule chose, not by hand, among"
        f" {len(source.prompts):,} prompts: {kinds}."
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
