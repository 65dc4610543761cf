"""Small figures of every kind, with hostile model names."""

from __future__ import annotations

from evalkit.report import charts

MODELS = ["dalle", "$\\LaTeX_{}$ <b> \x1b[31m\u202e & a very long name that goes on"]


def forest_rows():
    common = {
        "encoder": "mini",
        "reference": "r",
        "title": "FID",
        "better": "lower",
        "metric": "fid",
    }
    rows = [
        {**common, "model": model, "value": 30.0 + i, "low": 28.0, "high": 33.0, "baseline": 9.0}
        for i, model in enumerate(MODELS)
    ]
    other = {
        "encoder": "",
        "reference": "",
        "title": "KID",
        "better": "lower",
        "metric": "kid",
        "from_zero": True,
    }
    return [
        *rows,
        *({**other, "model": model, "value": 0.01, "low": None, "high": None} for model in MODELS),
    ]


def group_rows():
    spread = {"low": 1.0, "high": 3.0, "prompts": 4, "count": 4, "overall": 2.1}
    return [
        {"group": group, "model": model, "value": 2.0, **spread}
        for group in ("colour", "<b> & $x$")
        for model in MODELS
    ]


FIGURES = {
    "forest": lambda: charts.forest(forest_rows(), MODELS),
    "distribution": lambda: charts.distribution(
        [{"model": m, "value": 20 + i / 7} for m in MODELS for i in range(30)],
        MODELS,
        "Scores",
        "higher",
    ),
    "by_group": lambda: charts.by_group(group_rows(), MODELS, "Groups", "higher"),
    "baseline": lambda: charts.baseline(
        [
            {"kind": "baseline", "model": "", "count": 40, "value": 9.0},
            {"kind": "extrapolated", "model": "", "count": 40, "value": 9.0},
            {"kind": "extrapolated", "model": "", "count": 80, "value": 4.5},
            {
                "kind": "model",
                "model": MODELS[1],
                "count": 40,
                "value": 30.0,
                "low": 28.0,
                "high": 32.0,
            },
        ],
        MODELS,
        "FID and the number of images",
        "lower",
    ),
    "outcomes": lambda: charts.outcomes(
        [
            {"model": m, "outcome": o, "count": n}
            for m in MODELS
            for o, n in (("ok", 9), ("refused", 1), ("failed", 0))
        ],
        MODELS,
    ),
    "speed": lambda: charts.speed(
        [{"model": m, "value": 0.2, "low": 0.001, "high": 0.9} for m in MODELS], MODELS
    ),
}
