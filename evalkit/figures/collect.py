"""A run folder to the rows of each figure. The same rows are in the .csv beside the figure."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from evalkit.core import EvalkitError, Record
from evalkit.figures.difference_dots import drawn_pairs
from evalkit.figures.group_dots import group_rows
from evalkit.figures.image_grid import chosen_images
from evalkit.figures.metric_agreement import agreement_rows
from evalkit.figures.metric_dots import dots_rows
from evalkit.figures.pareto import pareto_rows
from evalkit.figures.raters import strength_rows, win_rate_rows
from evalkit.figures.rows import Row, drawable, models_of, one_metric
from evalkit.figures.score_distribution import score_rows
from evalkit.run_folder import Run

NO_FEATURES = (
    "it needs the features of the images and the reference, which are not in the run folder; write"
    " them with `evalkit score`"
)


class Absent(Exception):
    """Why a run has no data for a figure."""


class Source:
    """A scored run folder, each file read once."""

    def __init__(self, run: Run, metrics: Sequence[str] = ()) -> None:
        self.run, self.chosen = run, list(metrics)
        self.protocol: Mapping[str, Any] = run.protocol()
        self.metrics = drawable([self._stated(asdict(row)) for row in run.metrics()])
        known = run.models()
        scored = models_of(self.metrics)
        self.models = [model for model in known if model in scored] or scored
        unknown = [name for name in self.chosen if name not in {r["metric"] for r in self.metrics}]
        if unknown:
            names = ", ".join(dict.fromkeys(row["metric"] for row in self.metrics))
            raise EvalkitError(
                f"{run.path} has no metric {unknown[0]!r}; it has {names}.",
                "Correct `--metrics`, or measure it with `evalkit score`.",
            )

    def _stated(self, row: Row) -> Row:
        """A row with what protocol.json states about its metric."""
        measures = self.protocol.get("measures")
        found = measures.get(row["metric"], {}) if isinstance(measures, Mapping) else {}
        if found.get("title"):
            row |= {"title": found["title"], "from_zero": bool(found.get("from_zero"))}
        return row

    @functools.cached_property
    def comparisons(self) -> list[Row]:
        found = self.run.comparisons()
        rows = found.rows if found else ()
        return drawable([self._stated(asdict(row)) for row in rows])

    @functools.cached_property
    def prompts(self) -> list[tuple[str, str]]:
        """Id and text of each prompt."""
        if not self.run.prompts_path.is_file():
            return []
        return [(prompt.id, prompt.text) for prompt in self.run.prompts()]

    @functools.cached_property
    def scores(self) -> list[Row]:
        """The values per image: model, prompt, sample, metric, encoder, value, title, better."""
        better = {(row["metric"], row["encoder"]): row["better"] for row in self.metrics}
        found = []
        for row in self.run.scores():
            value, index = float(row["value"] or "nan"), int(row["index"])
            if math.isfinite(value):
                prompt = self.prompts[index][0] if index < len(self.prompts) else str(index)
                made = {"model": row["model"], "prompt": prompt, "sample": int(row["sample"])}
                made |= {"metric": row["metric"], "encoder": row["encoder"], "value": value}
                made["better"] = better.get((row["metric"], row["encoder"]), "higher")
                found.append(self._stated(made))
        return drawable(found)

    @functools.cache  # noqa: B019 (one source is read by one command)
    def records(self, model: str) -> list[Record]:
        """The records of a model's images."""
        return [record for record in self.run.records(model) if record.status == "ok"]


def metrics(source: Source) -> list[Row]:
    return dots_rows(source.metrics, source.chosen)


def differences(source: Source) -> list[Row]:
    """The pairs on the metrics of images, with the margin of the gate where there is one."""
    if not source.comparisons:
        raise Absent("the run has one model, or was not compared")
    rows = drawn_pairs(source.comparisons, source.chosen)
    every = [*source.metrics, *rows]  # the values of a pair may be too large to be drawn
    order = list(dict.fromkeys(row["metric"] for row in every))
    gate = _margins_of_gate(source.run.path / "gate.json")
    return [
        row | {"margin": gate.get((row["metric"], row["encoder"]), _default(source, row))}
        for row in sorted(rows, key=lambda row: order.index(row["metric"]))
    ]


def _margins_of_gate(path: Path) -> dict[tuple[str, str], float]:
    """The margins of the last gate, by metric and encoder; {} without one."""
    try:
        decisions = json.loads(path.read_text(encoding="utf-8"))["decisions"]
        return {
            (row["metric"], row["encoder"]): float(row["margin"])
            for row in decisions
            if row["margin"] is not None and not row["group"]
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


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
    if not any(row["group"] for row in grouped):
        raise Absent("the prompts have no groups, or no metric has values per image")
    sizes: dict[str, int] = {}
    if source.run.prompts_path.is_file():
        for prompt in source.run.prompts():
            sizes[prompt.group] = sizes.get(prompt.group, 0) + 1
    return [row | {"prompts": sizes.get(row["group"])} for row in group_rows(grouped)]


def scores(source: Source) -> list[Row]:
    if not source.scores:
        raise Absent("no metric has values per image (scores.csv is empty)")
    chosen = [row for row in source.scores if row["metric"] in source.chosen]
    return score_rows(chosen or source.scores)


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
                if not path.is_file():
                    raise Absent(f"{path} does not exist")
                name, text = source.prompts[record.index]
                relative = path.relative_to(source.run.path).as_posix()
                found.append({"model": model, "prompt": name, "text": text, "path": relative})
    if not found:
        raise Absent("the run has no images")
    return chosen_images(found, source.scores)


def pareto(source: Source) -> list[Row]:
    """FID against CLIP score, or the first two metrics that are chosen."""
    x, y = source.chosen[:2] if len(source.chosen) > 1 else ("fid", "clip_score")
    rows = pareto_rows([row for row in source.metrics if row["model"] in source.models], x, y)
    if (x, y) != ("fid", "clip_score") or ":" in rows[0]["y_encoder"]:
        return rows
    try:
        return [row | _covariance(source, row) for row in rows]
    except Absent:
        return rows  # crosses: the caption says so


def _covariance(source: Source, row: Row) -> dict[str, float]:
    """Variances and covariance of FID and CLIP score, leaving out the same groups of prompts."""
    import torch

    from evalkit.metrics import frechet
    from evalkit.statistics import intervals

    model, records = row["model"], source.records(row["model"])
    values = {
        (one["prompt"], one["sample"]): one["value"]
        for one in source.scores
        if (one["model"], one["metric"], one["encoder"]) == (model, "clip_score", row["y_encoder"])
    }
    places = [(source.prompts[record.index][0], record.sample) for record in records]
    if any(place not in values for place in places):
        raise Absent("not all images have a CLIP score")
    fake, moments = _features(source, model)
    texts = [source.prompts[record.index][1] for record in records]
    found = intervals.groups_of_clusters(intervals.cluster_numbers(texts))
    if found is None:
        raise Absent("too few prompts")
    own = torch.tensor([values[place] for place in places], dtype=torch.float64)
    number = int(found.max()) + 1
    without = torch.stack([own[found != group].mean() for group in range(number)])
    fid = frechet.fid_without(fake=fake, real_moments=moments, groups=found)
    variances = intervals.group_jackknife_covariance((row["x"], row["y"]), (fid, without), found)
    if not min(variances[:2]) > 0:
        raise Absent("a value is the same without any group of prompts")
    names = ("variance_x", "variance_y", "covariance")
    return dict(zip(names, variances, strict=True)) | {"groups": number}


def fid_by_count(source: Source) -> list[Row]:
    """FID of subsets of each model's images, as FID∞ uses them."""
    from evalkit.metrics.infinity import POINTS, fid_at_counts

    rows = []
    for model in source.models:
        if len(source.records(model)) < 2 * POINTS:
            continue
        fake, moments = _features(source, model)
        counts, values = fid_at_counts(fake=fake, real_moments=moments)
        rows += [
            {"model": model, "count": int(count), "value": float(value)}
            for count, value in zip(counts.tolist(), values.tolist(), strict=True)
        ]
    if not rows:
        raise Absent(f"no model has {2 * POINTS} images")
    return rows


@functools.cache
def _features(source: Source, model: str) -> tuple[Any, Any]:
    """Cached "pool" features float32 [N, D] behind FID, and the moments of the reference."""
    import torch

    from evalkit.features import cache
    from evalkit.reference.files import reference

    own = [row for row in source.metrics if (row["model"], row["metric"]) == (model, "fid")]
    if not own:
        raise Absent("FID was not measured")
    row = one_metric(own, "fid", "")[0]
    encoders = source.protocol.get("encoders") or {}
    prints = {one["name"]: one["fingerprint"] for one in encoders.values()}
    encoder: Any = SimpleNamespace(name=row["encoder"], fingerprint=prints.get(row["encoder"], ""))
    path = source.run.features_path(model, row["encoder"])
    cached = cache.read(path, encoder.fingerprint, ("pool",))
    keys = [record.sha256 for record in source.records(model)]
    if not keys or len(keys) != row["count"] or any(key not in cached.rows for key in keys):
        raise Absent(NO_FEATURES)
    try:
        moments = reference(row["reference"], encoder).moments["pool"]
    except (EvalkitError, KeyError) as error:
        raise Absent(f"the reference {row['reference']} is not found") from error
    return torch.from_numpy(cached.values["pool"][[cached.rows[key] for key in keys]]), moments


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
