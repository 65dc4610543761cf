"""A run folder to the rows of each figure. The same rows are in the .csv beside the figure."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping

from evalkit.figures.difference_dots import drawn_pairs
from evalkit.figures.group_dots import group_rows
from evalkit.figures.image_grid import chosen_images
from evalkit.figures.joint import Unknown, covariance
from evalkit.figures.metric_agreement import agreement_rows
from evalkit.figures.metric_dots import dots_rows
from evalkit.figures.pareto import pareto_rows
from evalkit.figures.raters import strength_rows, win_rate_rows
from evalkit.figures.rows import Row, on_all_prompts
from evalkit.figures.score_distribution import score_rows
from evalkit.figures.source import Absent, Source, features
from evalkit.run_folder import Run
from evalkit.run_folder.reading import reading

log = logging.getLogger(__name__)


def metrics(source: Source) -> list[Row]:
    return dots_rows(source.metrics, source.chosen)


def differences(source: Source) -> list[Row]:
    """The pairs on the metrics of images, with the margin of the gate where there is one."""
    if not source.comparisons:
        raise Absent("the run has one model, or was not compared")
    rows = drawn_pairs(source.comparisons, source.chosen)
    every = [*source.metrics, *rows]  # the values of a pair may be too large to be drawn
    order = list(dict.fromkeys(row["metric"] for row in every))
    gate = _margins_of_gate(source.run)
    return [
        row | {"margin": gate.get((row["metric"], row["encoder"]), _default(source, row))}
        for row in sorted(rows, key=lambda row: order.index(row["metric"]))
    ]


def _margins_of_gate(run: Run) -> dict[tuple[str, str], float]:
    """The margins of the last gate, by metric and encoder; {} without one."""
    with reading(run.gate_path, run.GATE_AGAIN):
        return {
            (row["metric"], row["encoder"]): float(row["margin"])
            for row in run.gate().get("decisions", ())
            if row["margin"] is not None and not row["group"]
        }


def _default(source: Source, row: Row) -> float | None:
    """The margin that the gate would use without a gate.toml."""
    from evalkit.statistics.margins import default_margin

    try:
        low, high = source.protocol["measures"][row["metric"]]["range"]
    except (KeyError, TypeError, ValueError):
        return None
    ends = (-math.inf if low is None else low, math.inf if high is None else high)
    return default_margin(ends, row["value_b"])


def groups(source: Source) -> list[Row]:
    """The score by group of prompts, for metrics with values per image."""
    per_image = {row["metric"] for row in source.scores}
    grouped = [row for row in source.metrics if row["metric"] in (source.chosen or per_image)]
    sizes: dict[str, int] = {}
    if source.run.is_run:
        for prompt in source.run.prompts():
            sizes[prompt.group] = sizes.get(prompt.group, 0) + 1
        sizes |= source.protocol.get("questions", {})
    if not any(row["group"] for row in grouped):
        named = [name for name in sizes if name]
        if not named:
            raise Absent("the prompts have no groups")
        if len(sizes) == 1:
            raise Absent(f"all prompts are of one group only, {named[0]}")
        if source.chosen:
            raise Absent(f"--metrics names no metric with values by group: {_chosen(source)}")
        raise Absent("no metric has values by group of prompts")
    return [row | {"prompts": sizes.get(row["group"])} for row in group_rows(grouped)]


def scores(source: Source) -> list[Row]:
    if not source.scores:
        raise Absent("no metric has values per image (scores.csv is empty)")
    chosen = [row for row in source.scores if row["metric"] in (source.chosen or (row["metric"],))]
    if not chosen:
        raise Absent(f"--metrics names no metric with values per image: {_chosen(source)}")
    graded = {row["metric"] for row in chosen if row["value"] not in (None, 0, 1)}
    if not graded:
        raise Absent("all values per image are 0 or 1, and a share has no distribution to draw")
    return score_rows([row for row in chosen if row["metric"] in graded])


def _chosen(source: Source) -> str:
    return ", ".join(source.chosen)


def strengths(source: Source) -> list[Row]:
    return strength_rows(source.metrics)


def win_rates(source: Source) -> list[Row]:
    return win_rate_rows(source.comparisons)


def human(source: Source) -> list[Row]:
    from evalkit.ratings.rows import pair_rows

    rows = [
        source._stated(row)
        for row in pair_rows(source.run)
        if not source.chosen or row["metric"] in source.chosen
    ]
    if not rows:
        raise Absent("no image has both a rating and a score")
    return rows


def agreement(source: Source) -> list[Row]:
    return agreement_rows(dots_rows(source.metrics, source.chosen))


def images(source: Source) -> list[Row]:
    """The chosen prompts, with paths relative to the run folder."""
    if not source.prompts:
        raise Absent("the images have no prompts")
    found = []
    for model in source.models:
        for record in source.records(model):
            path = source.run.image_path(model, record)
            if record.sample == 0 and record.file and record.index < len(source.prompts):
                if record.file in source.changes.files.get(model, ()):
                    raise Absent(f"{path} is gone or has changed")
                name, text = source.prompts[record.index]
                relative = path.relative_to(source.run.path).as_posix()
                found.append({"model": model, "prompt": name, "text": text, "path": relative})
    if not found:
        raise Absent("the run has no images")
    return chosen_images(found, source.scores)


def pareto(source: Source) -> list[Row]:
    """FID against CLIP score, or the first two metrics that are chosen."""
    if len(source.chosen) == 1:
        raise Absent(f"it needs two metrics, and --metrics names {source.chosen[0]} only")
    x, y, *others = source.chosen or ("fid", "clip_score")
    if others:
        log.info("figure pareto: of %s and %s, the first two of --metrics", x, y)
    rows = pareto_rows([row for row in source.metrics if row["model"] in source.models], x, y)
    try:
        return [row | covariance(source, *_sides(source, row, x, y)) for row in rows]
    except Unknown as error:
        source.no_covariance = str(error)
        return rows  # crosses: the caption says so


def _sides(source: Source, row: Row, *metrics: str) -> list[Row]:
    """The rows of metrics.json behind a row of pareto.csv."""
    return [
        next(
            one
            for one in on_all_prompts(source.metrics, metric)
            if one["model"] == row["model"] and (one["encoder"] or "") == row[f"{side}_encoder"]
        )
        for side, metric in zip("xy", metrics, strict=True)
    ]


def fid_by_count(source: Source) -> list[Row]:
    """FID of subsets of each model's images, as FID∞ uses them."""
    from evalkit.metrics.infinity import POINTS, fid_at_counts

    if source.chosen and "fid" not in source.chosen:
        raise Absent(f"--metrics does not name fid: {_chosen(source)}")
    rows = []
    for model in source.models:
        if len(source.records(model)) < 2 * POINTS:
            continue
        fake, moments = features(source, model)
        counts, values = fid_at_counts(fake=fake, real_moments=moments)
        rows += [
            {
                **{"model": model, "count": int(count), "value": float(value)},
                "dimension": fake.shape[1],
            }
            for count, value in zip(counts.tolist(), values.tolist(), strict=True)
        ]
    if not rows:
        raise Absent(f"no model has {2 * POINTS} images")
    return rows


COLLECT: Mapping[str, Callable[[Source], list[Row]]] = {
    "metrics": metrics,
    "differences": differences,
    "pareto": pareto,
    "groups": groups,
    "scores": scores,
    "fid_by_count": fid_by_count,
    "strengths": strengths,
    "win_rates": win_rates,
    "human": human,
    "agreement": agreement,
    "images": images,
}
