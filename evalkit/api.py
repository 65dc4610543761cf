"""The two functions that start from a configuration. They are twins of `evalkit run` and `evalkit
generate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evalkit.config import Config, Options, load_config
from evalkit.core import Prompt
from evalkit.encoders.select import named
from evalkit.generate import generate as stage
from evalkit.generate.generate import Estimate
from evalkit.run_folder import Run


def run(
    models: str | Sequence[str | Path] | None = None,
    prompts: str | Path | Sequence[str | Prompt] | None = None,
    *,
    config: str | Path | None = None,
    out: str | Path | None = None,
    per_prompt: int | None = None,
    seed: int | None = None,
    reference: str | Path | None = None,
    metrics: str | Sequence[str] | None = None,
    encoders: str | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    max_cost: float | None = None,
    retry_ambiguous: bool = False,
    options: Options | None = None,
) -> Run:
    """Compare models: generate, score, report. What is None was not given: the value of `config` or
    the default counts.

    Args:
        models: names (`dalle`), `package.module:attribute`, or folders of images.
        prompts: a file (txt, jsonl, csv, COCO captions json), `suite` or `suite:GROUP` (bundled
            prompts), or a list.
        config: a TOML file with the same keys, such as the run.toml of another run.
        out: the run folder; the default is a folder in `reports/` that the same call finds again.
        per_prompt: images per prompt (default 1).
        seed: the run's seed (default 0).
        reference: the name of shipped reference statistics, or a path.
        metrics: names of metrics (default: the usual set).
        encoders: `auto` (default), `standard`, `mini`, or names.
        device: `auto` (default), `cpu`, `cuda`, ...
        batch_size: images per batch (default 32); no result depends on it.
        max_cost: US dollars that remote services may cost in this run, all calls on its folder
            together.
        retry_ambiguous: ask a service again for images whose request was sent and never properly
            answered; each may be charged twice.
        options: options of models by label, `{"dalle": {"temperature": 0.9}}`.
    """
    values = {
        "models": models,
        "prompts": prompts,
        "out": out,
        "per_prompt": per_prompt,
        "seed": seed,
        "reference": reference,
    }
    values |= {
        "metrics": metrics,
        "encoders": encoders,
        "device": device,
        "batch_size": batch_size,
        "max_cost": max_cost,
    }
    settings = load_config(config, values, options)
    check_scoring(settings)
    from evalkit.report.report import report
    from evalkit.score.score import score

    made = stage.generate(settings, retry_ambiguous)
    scoring = {
        "metrics": settings.metrics,
        "encoders": settings.encoders,
        "reference": settings.reference,
    }
    score(made.path, **scoring, device=settings.device, batch_size=settings.batch_size)
    report(made.path)
    return made


def generate(
    models: str | Sequence[str | Path] | None = None,
    prompts: str | Path | Sequence[str | Prompt] | None = None,
    *,
    config: str | Path | None = None,
    out: str | Path | None = None,
    per_prompt: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    max_cost: float | None = None,
    retry_ambiguous: bool = False,
    options: Options | None = None,
) -> Run:
    """Make the images only. The parameters are those of `run`."""
    values = {
        "models": models,
        "prompts": prompts,
        "out": out,
        "per_prompt": per_prompt,
        "seed": seed,
    }
    values |= {"device": device, "batch_size": batch_size, "max_cost": max_cost}
    return stage.generate(load_config(config, values, options), retry_ambiguous)


def estimate(
    models: str | Sequence[str | Path] | None = None,
    prompts: str | Path | Sequence[str | Prompt] | None = None,
    *,
    config: str | Path | None = None,
    out: str | Path | None = None,
    per_prompt: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    max_cost: float | None = None,
    retry_ambiguous: bool = False,
    options: Options | None = None,
) -> list[Estimate]:
    """What `run` or `generate` with the same parameters would cost: nothing is sent and nothing is
    written.
    """
    values = {
        "models": models,
        "prompts": prompts,
        "out": out,
        "per_prompt": per_prompt,
        "seed": seed,
    }
    values |= {"device": device, "max_cost": max_cost}
    return stage.estimate(load_config(config, values, options), retry_ambiguous)


def check_scoring(config: Config) -> None:
    """Unknown metrics, encoders and references, found before the first image is made."""
    if config.encoders not in ("auto", "standard", "mini"):
        named(config.encoders)
    if config.metrics:  # the imports are slow (torch): a missing prompts file is reported sooner
        from evalkit.score.select import select

        select(config.metrics)
    if config.reference is not None:
        from evalkit.reference import files as reference_files

        reference_files.find(config.reference)
