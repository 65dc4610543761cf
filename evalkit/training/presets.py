"""The default trainings: sizes, steps and costs. An option can change every number of a preset.

Costs are for one training on two cores of an AMD EPYC or an Intel Xeon, from the time of its steps.
`python benchmarks/presets.py` measures them again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from evalkit.core import EvalkitError
from evalkit.training.options import OPTIONS

MINI = ("mini-inception", "mini-judge", "mini-coach", "mini-clip")
MODELS = ("mini", *MINI, "image-tokenizer", "dalle", "gan")
SEEDS = {"mini-judge": 1, "mini-coach": 2}  # these must share no data with the other models


@dataclass(frozen=True)
class Preset:
    size: int  # pixels per side
    steps: int
    batch: int
    cost: str
    every: int = 250  # steps between checkpoints
    scenes: int = 60_000  # of the bundled data set
    options: dict[str, Any] = field(default_factory=dict)


PRESETS: dict[str, dict[str, Preset]] = {
    "mini-inception": {"32": Preset(32, 1800, 64, "9 minutes", 200, options={"width": 24})},
    "mini-judge": {"32": Preset(32, 1200, 64, "5 minutes", 200, options={"width": 20})},
    "mini-coach": {"32": Preset(32, 800, 64, "3 minutes", 200, options={"width": 16})},
    "mini-clip": {"32": Preset(32, 1200, 128, "12 minutes", 200)},
    "image-tokenizer": {
        "32": Preset(32, 4500, 64, "25 minutes"),
        "finer": Preset(
            32, 1000, 64, "15 minutes",
            options={"weights": "image-tokenizer", "perceptual": 0.5, "rate": 1e-3},
        ),
        "64": Preset(64, 6000, 64, "2.6 hours"),
        "128": Preset(
            128, 12_000, 64, "29 hours", scenes=40_000,
            options={"levels": "8,8,8,5,5", "width": 128, "doublings": 3},
        ),
    },
    "dalle": {
        "32": Preset(32, 12_000, 32, "2 hours", scenes=150_000),
        "64": Preset(64, 30_000, 64, "42 hours", scenes=150_000, options={"depth": 8}),
        "128": Preset(128, 60_000, 64, "10 days", scenes=40_000, options={"depth": 12}),
        "student": Preset(
            32, 6000, 32, "50 minutes", scenes=150_000, options={"depth": 2, "teacher": "dalle"}
        ),
        "guided": Preset(
            32, 2000, 32, "30 minutes",
            options={
                "teacher": "dalle", "guided": 1.8, "share": 1.0, "hidden": 0.0, "rate": 0.008,
                "oversample": "single",
            },
        ),
        "underspecified": Preset(
            32, 2000, 96, "15 minutes", 500, options={"underspecified": "dalle", "rate": 1e-3}
        ),
    },
    "gan": {
        "32": Preset(
            32, 20_000, 48, "70 minutes", 500, scenes=150_000,
            options={"discriminator_start": 0.8, "discriminator_warmup": 0.01},
        ),
        "underspecified": Preset(
            32, 4000, 192, "12 minutes", 500, options={"underspecified": "gan", "rate": 1e-3}
        ),
        "64": Preset(
            64, 24_000, 48, "2 hours", 500, scenes=150_000,
            options={"discriminator_start": 0.75, "discriminator_warmup": 0.01},
        ),
        "128": Preset(
            128, 48_000, 48, "10 hours", 500, scenes=40_000,
            options={"discriminator_start": 0.75, "discriminator_warmup": 0.01},
        ),
    },
}  # fmt: skip


def preset_of(model: str, name: str) -> Preset:
    """The preset of a model. Raises EvalkitError for an unknown model or preset."""
    if model not in PRESETS:
        raise EvalkitError(
            f"There is no model {model!r} to train.",
            f"Train one of {', '.join(MODELS)}.",
            code="training-35",
        )
    if name not in PRESETS[model]:
        raise EvalkitError(
            f"{model} has no preset {name!r}.",
            f"It has {', '.join(PRESETS[model])}.",
            code="training-36",
        )
    return PRESETS[model][name]


def list_training() -> list[dict[str, str]]:
    """The trainable models: presets with size, steps, batch and cost, and their options."""
    header, rows = listing()
    return [dict(zip(header, row, strict=True)) for row in rows]


def listing() -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of `evalkit list training`."""
    rows: list[tuple[str, ...]] = []
    for model, presets in PRESETS.items():
        for name, preset in presets.items():
            values = {
                item.name: preset.options.get(item.name, item.default)
                for item in fields(OPTIONS[model])
            }
            options = ", ".join(f"{option}={value!r}" for option, value in values.items())
            steps = f"{preset.steps:,} x {preset.batch}"
            rows.append((model, name, f"{preset.size} px", steps, preset.cost, options))
    return ("model", "preset", "size", "steps x batch", "cost on two cores", "options"), rows
