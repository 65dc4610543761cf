"""Small figures of every kind, with invented values and hostile names of models."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

import evalkit
from evalkit.figures import run_charts
from evalkit.figures.training_curve import training_curve

MODELS = ["dalle", "$\\LaTeX_{}$ <b> \x1b[31m\u202e & a very long name that goes on"]
LONG = [f"diffusers:ckpt-{n:05d}-organisation/the-same-long-ending-of-all" for n in range(12)]


def metric_rows(models: Sequence[str] = MODELS) -> list[dict]:
    """FID with baselines, KID around zero, and CLIP score by group of prompts."""
    rows = []
    for place, model in enumerate(models):
        for name, value, half, better, encoder, more in (
            ("fid", 30.0 + 3 * place, 2.0, "lower", "inception", {"baseline": 9.0}),
            ("kid", 0.001 * (place - 1), 0.002, "lower", "inception", {"from_zero": True}),
            ("clip_score", 27.0 - place % 5, 0.8, "higher", "clip-b16", {}),
        ):
            row = {"model": model, "metric": name, "encoder": encoder, "reference": "coco"}
            row |= {"value": value, "low": value - half, "high": value + half, "better": better}
            titles = {"fid": "FID", "kid": "KID", "clip_score": "CLIP score"}
            rows.append({**row, "title": titles[name], "count": 40, "group": "", **more})
        for number, group in enumerate(("colour", "<b> & $x$", "a group with a rather long name")):
            value = 25.0 + number - place % 5
            own = {**row, "group": group, "prompts": 4 + number, "value": value, "title": "CLIP"}
            rows.append({**own, "low": value - 1, "high": value + 1.5})
    return rows


def comparison_rows(models: Sequence[str] = MODELS) -> list[dict]:
    """The first model against each other one, on two metrics; every second one is significant."""
    rows = []
    for name, scale, better in (("fid", 1.0, "lower"), ("clip_score", 0.1, "higher")):
        for place, other in enumerate(models[1:]):
            middle = scale * (place - 2)
            significant = place % 2 == 0
            row = {"metric": name, "encoder": "e", "reference": "", "better": better}
            row |= {"model_a": models[0], "model_b": other, "difference": middle}
            row |= {"low": middle - scale, "high": middle + scale, "margin": 1.5 * scale}
            row |= {"low_adjusted": middle - 2 * scale, "high_adjusted": middle + 2 * scale}
            row |= {"verdict": "a better" if significant else "no significant difference"}
            rows.append(row)
    return rows


def pareto_rows(models: Sequence[str] = MODELS) -> list[dict]:
    return [
        {
            "model": model, "x": 30.0 + 2 * place, "y": 25 + math.sin(place), "groups": 20,
            "variance_x": 1.0, "variance_y": 0.04, "covariance": -0.1,
            "x_title": "FID", "x_better": "lower", "y_title": "CLIP score", "y_better": "higher",
        }
        for place, model in enumerate(models)
    ]  # fmt: skip


def score_rows(models: Sequence[str] = MODELS) -> list[dict]:
    return [
        {"model": model, "metric": "clip_score", "value": 20 + place + n / 7}
        for place, model in enumerate(models)
        for n in range(30)
    ]


def count_rows(models: Sequence[str] = MODELS) -> list[dict]:
    """On a line in 1 / N, from 20 at infinite N."""
    return [
        {"model": model, "count": count, "value": 20.0 + place + 4000 / count}
        for place, model in enumerate(models)
        for count in (500, 600, 700, 800, 900, 1000)
    ]


def strength_rows(models: Sequence[str] = MODELS) -> list[dict]:
    return [
        {
            "model": model, "metric": "strength", "encoder": "human:preference", "better": "higher",
            "reference": "study", "value": 40.0 - 20 * place, "low": 20.0 - 20 * place,
            "high": 65.0 - 20 * place, "count": 30,
        }
        for place, model in enumerate(models)
    ]  # fmt: skip


def win_rate_rows(models: Sequence[str] = MODELS) -> list[dict]:
    return [
        {
            "metric": "win_rate", "encoder": "human:preference", "reference": "study",
            "model_a": a, "model_b": b, "value_a": 0.5 + 0.03 * (second - first),
            "verdict": "a better" if second - first > 1 else "no significant difference",
        }
        for first, a in enumerate(models)
        for second, b in enumerate(models)
        if first < second
    ]  # fmt: skip


def pair_rows(models: Sequence[str] = MODELS) -> list[dict]:
    random = np.random.RandomState(0)
    return [
        {
            "prompt": f"p{n}", "model_a": models[0], "model_b": models[-1], "metric": "clip_score",
            "encoder": "clip", "raters": "human:preference", "study": "s",
            "difference": float(random.randn()) + n % 3 - 1, "preference": float(n % 3 - 1),
        }
        for n in range(60)
    ]  # fmt: skip


def image_rows(folder: Path, models: Sequence[str] = MODELS) -> tuple[list[dict], list[dict]]:
    """Images and scores of 9 prompts: prompt n is worse with n, and 4 has the largest spread."""
    images, scores = [], []
    for place, model in enumerate(models):
        path = folder / f"{place}.png"
        shade = (200, 20 * place % 255, 60)
        Image.new("RGB", (40, 30 + 10 * (place % 2)), shade).save(path)
        for n in range(9):
            text = f"prompt {n} " + "with a long text that goes on " * (n % 4)
            common = {"model": model, "prompt": f"p{n}", "sample": 0}
            images.append({**common, "text": text, "path": str(path), "status": "ok"})
            value = 30.0 - n + (3.0 if n == 4 and place else 0.0)
            scores.append({**common, "metric": "clip_score", "encoder": "clip", "value": value})
    return images, scores


def functions(folder: Path, models: Sequence[str] = MODELS) -> Mapping[str, Callable[..., Figure]]:
    """By name: a function of `width` and `columns` that draws the figure for these models."""
    of, images = evalkit.figures, image_rows(folder, models)
    found: dict[str, Callable[..., Figure]] = {
        "metric_dots": partial(of.metric_dots, metric_rows(models)),
        "pareto": partial(of.pareto, pareto_rows(models)),
        "pareto_crosses": partial(of.pareto, metric_rows(models)),
        "group_dots": partial(of.group_dots, metric_rows(models)),
        "score_distribution": partial(of.score_distribution, score_rows(models)),
        "fid_by_count": partial(of.fid_by_count, count_rows(models)),
        "strengths": partial(of.strengths, strength_rows(models)),
        "metric_against_human": partial(of.metric_against_human, pair_rows(models)),
        "image_grid": partial(of.image_grid, *images),
    }
    if len(models) > 1:
        found["difference_dots"] = partial(of.difference_dots, comparison_rows(models))
        found["win_rates"] = partial(of.win_rates, win_rate_rows(models))
    if len(models) > 2:
        found["metric_agreement"] = partial(of.metric_agreement, metric_rows(models))
    return found


def run_figures(models: Sequence[str] = MODELS) -> Mapping[str, Callable[[], Figure]]:
    """The figures of the report that have no public function."""
    counts = [
        {"kind": "baseline", "model": "", "count": 40, "value": 9.0},
        {"kind": "extrapolated", "model": "", "count": 40, "value": 9.0},
        {"kind": "extrapolated", "model": "", "count": 80, "value": 4.5},
    ]
    counts += [
        {"kind": "model", "model": model, "count": 40, "value": 30.0, "low": 28.0, "high": 32.0}
        for model in models
    ]
    requests = [
        {"model": model, "outcome": outcome, "count": count}
        for model in models
        for outcome, count in (("ok", 9), ("refused", 1), ("failed", 0))
    ]
    times = [{"model": model, "value": 0.2, "low": 0.001, "high": 0.9} for model in models]
    title = "FID and the number of images"
    return {
        "baseline": partial(run_charts.baseline, counts, models, title, "lower"),
        "outcomes": partial(run_charts.outcomes, requests, models),
        "speed": partial(run_charts.speed, times, models),
        "training_curve": partial(
            training_curve, [{"step": n, "loss": 1 / (n + 1)} for n in range(9)], "dalle"
        ),
    }


def texts(figure: Figure) -> list[Text]:
    """All texts that are drawn: not those of ticks outside of the view, or of hidden axes."""
    hidden: set[Text] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = 1e-9 * (high - low)
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low - slack <= tick.get_loc() <= high + slack:
                    hidden |= {tick.label1, tick.label2}
        if not (axes.get_visible() and axes.axison):
            hidden |= {*axes.xaxis.findobj(Text), *axes.yaxis.findobj(Text)}
    found = [item for item in figure.findobj(Text) if isinstance(item, Text)]
    return [
        item
        for item in found
        if item.get_visible() and item.get_text().strip() and item not in hidden
    ]
