"""Run folders with any number of models and metrics, as the score stage leaves them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path

from evalkit import plugins
from evalkit.core import ComparisonRow, Comparisons, Metric, MetricRow, Prompt, Record
from evalkit.run_folder import Run

ENCODERS = {
    "inception": "inception",
    "clip": "clip-b32",
    "clip-paper": "clip-b32-openai",
    "clip-large": "clip-l14-336-cmmd",
    "dinov2": "dinov2-l14",
    "lpips": "lpips-vgg",
}


def values_run(
    path: Path, models: Sequence[str], metrics: Sequence[str] = (), groups: Sequence[str] = ()
) -> Run:
    """All metrics of evalkit, or these, and by group of prompts; every model is worse than the
    ones before it, and the first ones differ significantly."""
    rng, run = random.Random(0), Run(path)
    found = [plugins.metric(name) for name in metrics or plugins.names("metric")]
    prompts = [Prompt(str(i), "a cat", groups[i % len(groups)] if groups else "") for i in range(9)]
    run.write_prompts(prompts)
    rows: list[MetricRow] = []
    pairs: list[ComparisonRow] = []
    for order, model in enumerate(models):
        run.register_model(model, model, order)
        run.append_records(model, [Record(p.id, i, 0, 0, "refused_input", detail="no")
                                   for i, p in enumerate(prompts)])  # fmt: skip
    for metric in found:
        start = rng.choice([0.5, 12.3, 1234.5]) if metric.range[1] > 2000 else 0.4
        for group in ("", *groups):
            own = [_row(metric, model, start, i, group) for i, model in enumerate(models)]
            rows += own
            pairs += _pairs(metric, own, len(models) <= 8, group)
    run.write_metrics(rows)
    run.write_scores([(model, 0, 0, "clip_score", "clip-b32", 0.5) for model in models])
    run.write_comparisons(Comparisons("Every pair, Holm.", 0.95, len(pairs), tuple(pairs)))
    run.write_protocol(
        {
            "measures": {metric.name: metric.measure.stated() for metric in found},
            "versions": {"evalkit": "0.1.0"},
            "references": {"inception": {"name": "coco-val", "count": 5000}},
        }
    )
    return run


def _row(metric: Metric, model: str, start: float, place: int, group: str) -> MetricRow:
    sign = 1 if metric.better == "lower" else -1
    value = start + sign * start * 0.013 * place
    reference = "coco-val" if metric.compares else ""
    low, high = value - 0.031 * start, value + 0.04 * start
    what = (model, metric.name, ENCODERS[metric.encoder], reference, value, low, high)
    return MetricRow(*what, 5000, 5000, metric.better, "bootstrap", group=group)


def _pairs(
    metric: Metric, rows: Sequence[MetricRow], every: bool, group: str
) -> list[ComparisonRow]:
    """All pairs, or each model with the first; significant from a distance of two."""
    found = []
    for (i, a), (j, b) in itertools.combinations(enumerate(rows), 2):
        if not every and i:
            break
        assert a.value is not None
        assert b.value is not None
        gap, wide = a.value - b.value, abs(rows[0].value or 1) * 0.02
        better = j - i >= 2
        found.append(
            ComparisonRow(
                metric.name, a.encoder, a.reference, metric.better, a.model, b.model,
                a.value, b.value, gap, gap - wide, gap + wide, 0.0001 if better else 0.4,
                gap - wide, gap + wide, 0.0002 if better else 0.8,
                "a better" if better else "no significant difference",
                9, 5000, None, "paired", group,
            )
        )  # fmt: skip
    return found
