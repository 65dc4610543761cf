"""`run` and `generate`: the two functions that start from a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, Unpack, overload

from evalkit import plugins
from evalkit.config import KEYS, Config, Options
from evalkit.core import EvalkitError, Precision, Prompt
from evalkit.engines.drive import Workers, workers_of
from evalkit.generate import generate as stage
from evalkit.generate.generate import Estimate
from evalkit.generate.given import with_folder
from evalkit.generate.plan import Plan, earlier_config, models_of, read_given
from evalkit.hints import did_you_mean
from evalkit.remote.keys import without_keys
from evalkit.results import Run
from evalkit.run_config import run_config
from evalkit.score.presets import expand
from evalkit.score.settings import (
    Settings,
    as_triples,
    measured,
    metrics_of_scorers,
    resolve,
    together,
    typed,
)
from evalkit.shards import shard_of
from evalkit.specs import joined_names, model_texts, split_label, split_names

# A generator as a user names it: a spec, a folder, or the function itself.
ModelLike: TypeAlias = str | Path | Callable[..., Any]
Models: TypeAlias = ModelLike | Sequence[ModelLike] | Mapping[str, ModelLike]


def run(
    models: Models | None = None,
    prompts: str | Path | Sequence[str | Prompt] | None = None,
    *,
    config: str | Path | None = None,
    out: str | Path | None = None,
    per_prompt: int | None = None,
    seed: int | None = None,
    reference: str | Path | None = None,
    metrics: str | Sequence[str] | None = None,
    encoders: str | Sequence[str] | None = None,
    precision: Precision | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    max_cost: float | None = None,
    retry_ambiguous: bool = False,
    perturb: str | Sequence[str] | None = None,
    text_column: str | None = None,
    group_column: str | None = None,
    options: Options | None = None,
    engine: str | None = None,
    shards: int | None = None,
) -> Run:
    """Compare models: generate images, score them and write the report.

    A parameter that is None takes its value from `config`, else from the run that `out` has, else
    the default. A run may grow: more prompts (the list still holds the old ones), more images per
    prompt, more models and more metrics; nothing is made or encoded again. The named models are
    compared, others of the folder stay as they are.

    Args:
        models: names (`dalle`), `package.module:attribute`, folders of images, or functions
            (prompts and seeds to images); a mapping gives them labels.
        prompts: a file (txt, jsonl, json, csv, tsv, parquet, COCO captions), a folder of txt files,
            `suite` or `suite:GROUP` (bundled prompts), or a list.
        config: a TOML file with the same keys, such as the run.toml of another run.
        out: the run folder; the default is a folder in `reports/` that the same call finds again.
        per_prompt: images per prompt (default 1).
        seed: the run's seed (default 0).
        reference: the name of installed reference statistics, or a path.
        metrics: names of metrics or presets, such as `all` (default: the usual set).
        encoders: `auto` (default), `standard`, `mini`, or names.
        precision: in which the encoders compute: `exact` (default), `tf32` or `bf16`, see `score`.
        device: `auto` (default), `cpu`, `cuda`, ...
        batch_size: images per batch (default 32, for encoders on a GPU by its free memory); results
            agree up to rounding.
        max_cost: the limit in US dollars for remote services, over all calls on the run folder.
        retry_ambiguous: request images again whose request was sent but not properly answered;
            each may be charged twice.
        perturb: kinds of variants of each prompt, which are added to the list: `lowercase`,
            `uppercase`, `typos`, `spaces`, `contractions`, `expansions`. What they change is in
            robustness.json and the report.
        text_column: of a table or JSON, where the prompts are; by default found by its name.
        group_column: where their groups are; by default found by its name (group, category, tag,
            challenge, skill, ...).
        options: options of models by label, of scorers by name and of the engine by its name,
            `{"dalle": {"temperature": 0.9}}`.
        engine: generate and encode in other processes: `local`, `ray` or `slurm`, see
            docs/scale.md.
        shards: into how many parts the engine divides the run (default: 4 per worker).

    Warns:
        IncompleteRunWarning: a model has no image at all, or black images only. All files are
            written.
    """
    given = locals()
    workers, given["options"] = workers_of(engine, options, shards)
    settings, labels, bundled = _checked(given)
    before = run_config(Run(settings.out)).get("metrics", ())
    from evalkit.report.report import report
    from evalkit.score import resources
    from evalkit.score.score import score_with

    if workers is None:
        made = stage.generate(settings, retry_ambiguous, scored=True)
    else:
        with workers:
            made = _generate_with(workers, settings, retry_ambiguous).run
            how = {"device": settings.device, "batch_size": settings.batch_size}
            workers.encode(made, models=labels, **how)
    with made.writing_results():
        chosen = resolve(made.path, metrics=metrics, models=labels)
        found = resources.load(chosen, bundled, settings.device, made.path)
        size = settings.batch_size
        score_with(made.path, chosen, found, batch_size=size, generated=True, before=before)
        report(made.path)
    return Run(made.path)


def estimate_run(**given: Any) -> list[Estimate]:
    """The missing images of `run` with these parameters, after its checks; nothing is sent."""
    _, given["options"] = workers_of(given["engine"], given["options"], given["shards"])
    with without_keys():
        settings, _, _ = _checked(given)
    return stage.estimate(settings, given["retry_ambiguous"])


def _checked(given: Mapping[str, Any]) -> tuple[Config, list[str], bool]:
    """All that `run` checks before the first image, but for the models.

    Returns the configuration, the labels of its models, and whether all of them are bundled.
    """
    settings = _settings(given)
    run = Run(settings.out)
    known, named_metrics = measured(run), settings.metrics
    settings = replace(settings, metrics=together(known, named_metrics))
    read_given(settings)  # a missing file is reported before the slow imports
    named = models_of(run, settings)
    chosen = Settings(
        settings.metrics,
        settings.encoders,
        settings.reference,
        options=as_triples(settings.scorers),
        precision=settings.precision,
        asked=() if given["metrics"] is None and given["config"] is None else named_metrics,
    )
    from evalkit.score import resources
    from evalkit.score.select import select_from

    select_from(run.config_path, known)
    if given["config"] is not None and given["metrics"] is None:
        select_from(given["config"], named_metrics)
    # Loaded twice, so that no encoder takes memory while a generator needs it.
    bundled = all(model.bundled for model in named)
    resources.mention(resources.load(chosen, bundled, settings.device, run.path), chosen.precision)
    return settings, [model.label for model in named], bundled


class _Generating(TypedDict, total=False):
    """The keyword parameters of `generate` in its overloads."""

    config: str | Path | None
    out: str | Path | None
    per_prompt: int | None
    seed: int | None
    device: str | None
    batch_size: int | None
    max_cost: float | None
    retry_ambiguous: bool
    perturb: str | Sequence[str] | None
    text_column: str | None
    group_column: str | None
    options: Options | None
    shard: str | None
    engine: str | None
    shards: int | None


@overload
def generate(
    models: Models | None = None,
    prompts: str | Path | Sequence[str | Prompt] | None = None,
    *,
    dry_run: Literal[False] = False,
    **settings: Unpack[_Generating],
) -> Run: ...
@overload
def generate(
    models: Models | None = None,
    prompts: str | Path | Sequence[str | Prompt] | None = None,
    *,
    dry_run: Literal[True],
    **settings: Unpack[_Generating],
) -> list[Estimate]: ...
def generate(
    models: Models | None = None,
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
    dry_run: bool = False,
    perturb: str | Sequence[str] | None = None,
    text_column: str | None = None,
    group_column: str | None = None,
    options: Options | None = None,
    shard: str | None = None,
    engine: str | None = None,
    shards: int | None = None,
) -> Run | list[Estimate]:
    """Make the images only. The parameters are those of `run`, and two more.

    Args:
        dry_run: return the missing images and their cost per model; nothing is sent or written.
        shard: `i/N`, every N-th image from place i on; other processes make the others. By default
            as torchrun, Slurm or Kubernetes put it into the environment, else all images.
    """
    given = locals()
    workers, given["options"] = workers_of(engine, options, shards, shard)
    settings = _settings(given)
    if dry_run:
        return stage.estimate(settings, retry_ambiguous)
    if workers is not None:
        with workers:
            made = _generate_with(workers, settings, retry_ambiguous)
        stage.warn_incomplete(made)
        return Run(made.run.path)
    return Run(stage.generate(settings, retry_ambiguous, shard=shard_of(shard)).path)


def _generate_with(workers: Workers, settings: Config, retry_ambiguous: bool) -> Plan:
    """`generate` by the workers of an engine."""
    made = stage.begin(settings, retry_ambiguous)
    labels = {model.label for model in made.models}
    known = earlier_config(made.run)
    assert known is not None
    texts = zip(known.models, models_of(made.run, known), strict=True)
    workers.generate(
        made.run,
        sorted(labels),
        sum(map(len, made.todo.values())),
        models=[text for text, model in texts if model.label in labels],
        device=settings.device,
        batch_size=settings.batch_size,
        max_cost=settings.max_cost,
        retry_ambiguous=retry_ambiguous,
    )
    return made


def _settings(given: Mapping[str, Any]) -> Config:
    """The configuration of a call, from its parameters by name."""
    flags = {key: given[key] for key in KEYS if key in given}
    flags["encoders"] = joined_names(given.get("encoders"))
    labels = [split_label(text)[0] or text for text in model_texts(given["models"] or ())[0]]
    options, scorers = dict(given["options"] or {}), {}
    metrics = given.get("metrics") or ()
    named = split_names(metrics) if isinstance(metrics, str) else tuple(metrics)
    for name in (one for one in plugins.scorer_names(named) if one in options):
        if name not in labels:
            scorers[name] = options.pop(name)
        elif any(scorer.name == name for scorer in metrics_of_scorers(named).values()):
            raise EvalkitError(
                f"Options are given for {name!r}, which is both the label of a model and a scorer.",
                f"Give the model another label: `other={name}`.",
                code="api-2",
            )
    config = with_folder(given["config"], flags, options, scorers)
    known = plugins.scorer_names(config.metrics) if config.scorers else []
    for name in config.scorers:
        if name not in known and given["config"] is not None:
            raise EvalkitError(
                f"{given['config']} has options of {name!r}, which is not a scorer.",
                did_you_mean(name, known),
                code="api-3",
            )
    now = typed({name: config.scorers[name] for name in scorers}, config.metrics)
    return replace(config, metrics=expand(config.metrics), scorers={**config.scorers, **now})
