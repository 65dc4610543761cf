"""Prompts and models -> images and their manifests. Run again, it makes what is missing."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from evalkit.config import Config
from evalkit.core import EvalkitError, Generator, Service, is_service
from evalkit.features.image_sets import image_sets
from evalkit.features.problems import warn_of_problems
from evalkit.files import write_atomically
from evalkit.generate import growth, local, remote
from evalkit.generate.plan import (
    Plan,
    check_fingerprint,
    check_same,
    earlier_config,
    fingerprint_of,
    plan,
)
from evalkit.generators.folder import Folder
from evalkit.prompts import duplicate_count, is_bundled
from evalkit.prompts.perturb import originals_of, unchanged
from evalkit.prompts.suites import doubt, identity
from evalkit.remote.keys import without_keys
from evalkit.run_config import relevant
from evalkit.run_folder import Run
from evalkit.shards import WHOLE, Shard
from evalkit.sources import absent, not_taken
from evalkit.specs import INSTALLED, default_label, is_path, labelled, relative_to

log = logging.getLogger(__name__)
_LEFTOVER_SECONDS = 600  # a temporary file of this age belongs to no process that still runs


class Estimate(NamedTuple):
    """The missing images of one model and their cost."""

    model: str
    requested: int  # images of the whole run
    missing: int
    price: float | None  # US dollars per image; None: unknown; 0: the model runs locally
    total: float | None  # US dollars for the missing images


def estimate(config: Config, retry_ambiguous: bool = False) -> list[Estimate]:
    """The cost of `generate` with this configuration, per model. Sends and writes nothing."""
    # Without a limit, plan() accepts an unknown price: here it is part of the answer.
    with without_keys():
        made = plan(dataclasses.replace(config, max_cost=None), retry_ambiguous)
    result: list[Estimate] = []
    for label, missing in made.todo.items():
        generator, price = made.loaded.get(label), 0.0
        if generator is not None and is_service(generator):
            price = getattr(generator, "price", None)
        total = None if price is None else price * len(missing)
        result.append(Estimate(label, made.requested, len(missing), price, total))
    return result


def generate(
    config: Config,
    retry_ambiguous: bool = False,
    scored: bool = False,
    shard: Shard = WHOLE,
) -> Run:
    """Make every image of the configuration that is missing.

    Everything that can be checked quickly is checked before the folder is touched (see plan). When
    a model fails or a service stops (no money, no quota, a wrong key, repeated failures), the other
    models still run; its EvalkitError is raised at the end.

    Args:
        config: what to make.
        retry_ambiguous: request images again whose request was sent but not properly answered;
            each may be charged twice.
        scored: the images are scored next, which gives the same warnings and decodes them anyway.
        shard: which images; the others are made by other processes.

    Warns:
        IncompleteRunWarning: a model of which no image is missing has no image or only black ones.
    """
    with contextlib.ExitStack() as held:
        made = plan(config, retry_ambiguous, held.enter_context, shard)
        _make(made, config.batch_size or 32, retry_ambiguous)
        if not scored:
            warn_incomplete(made)
    return made.run


def begin(config: Config, retry_ambiguous: bool = False) -> Plan:
    """Write what the run is, and make no image: shards will. No model is loaded."""
    if config.functions:
        raise EvalkitError(
            f"The model {next(iter(config.functions))!r} is a function of this process, which"
            " other processes do not have.",
            "Name it as they find it: `package.module:attribute`.",
            code="generate-1",
        )
    with contextlib.ExitStack() as held:
        made = plan(config, retry_ambiguous, held.enter_context, load=False)
        _announce(made)
        with made.run.beginning():
            _begin(made)
    return made


def _announce(made: Plan) -> None:
    """Log what is unusual about the prompts and models."""
    if count := duplicate_count(made.prompts):
        log.warning(
            "%d of %d prompts repeat an earlier one; they are kept",
            count,
            len(made.prompts) - len(originals_of(made.prompts)),
        )
    for said in unchanged(made.prompts, made.config.perturb):
        log.warning("%s", said)
    if isinstance(file := made.config.prompts, str) and not is_bundled(file):
        variants = originals_of(made.prompts)
        given = [prompt for at, prompt in enumerate(made.prompts) if at not in variants]
        if said := doubt(file, given):
            log.warning("%s", said)
        if said := identity(file, given):
            log.info("%s", said)
    if len({model.bundled for model in made.models}) > 1:
        names = ", ".join(model.label for model in made.models if model.bundled)
        log.warning(
            "%s: bundled with evalkit, a test subject of 32 x 32 pixels; it is compared with"
            " models of another kind",
            names,
        )


def _make(made: Plan, batch_size: int, retry_ambiguous: bool) -> None:
    """Write what the run is, then the missing images of each model."""
    _announce(made)
    with made.run.beginning():
        _begin(made)
    for model in made.models:
        left = {"not_taken": not_taken(made.run.unmatched(model.label))}
        if model.label not in made.unmatched:  # else, its folder has just been read
            for line in absent(left):
                log.warning("%s: %s", model.label, line)
    stopped: list[EvalkitError] = []
    for label in list(made.loaded):
        generator = made.loaded.pop(label)  # pop: its memory is free before the next one draws
        work = made.todo[label], made.shard, made.requested
        try:
            if is_service(generator):
                service = cast(Service, generator)
                remote.fill(made.run, label, service, *work, made.budget, retry_ambiguous)
            else:
                local.fill(made.run, label, cast(Generator, generator), *work, batch_size)
        except EvalkitError as error:
            stopped.append(error)
    if len(stopped) > 1:
        raise EvalkitError(
            " ".join(error.message for error in stopped),
            stopped[0].hint,
            max(error.exit_code for error in stopped),
            code=stopped[0].code,
        )
    if stopped:
        raise stopped[0]


def warn_incomplete(made: Plan) -> None:
    """Give an IncompleteRunWarning for each finished model without a usable image."""
    warn_of_problems(
        [
            images
            for images in image_sets(made.run.path).sets
            if images.model in made.todo and len(images.all_records) >= images.requested
        ]
    )


def _begin(made: Plan) -> None:
    """Write what the run is: prompts.jsonl, each model.json, and run.toml last."""
    run, config = made.run, made.config
    earlier = earlier_config(run)
    if earlier != made.earlier:  # another process has begun or continued it since
        check_same(run, earlier, config, made.models)
        if growth.grown(run, made.prompts) != made.prompts:
            raise EvalkitError(
                f"Another process has added prompts to {run.path} in the meantime.",
                "Run the same command again.",
                code="generate-2",
            )
    grew = not run.is_run or run.prompts() != made.prompts
    if grew:
        run.write_prompts(made.prompts)
    specs = {label: run.model(label)["spec"] for label in run.models()}
    specs |= {model.label: relative_to(run.path, model.spec) for model in made.models}
    order = list(specs)
    for model in made.models:
        label, generator = model.label, made.loaded.get(model.label)
        if not isinstance(generator, Folder):  # whose fingerprint changes as it grows
            check_fingerprint(run, model, generator)
        fingerprint = fingerprint_of(model, generator) if generator else ""
        fingerprint = fingerprint or run.model(label).get("fingerprint", "")
        settings = _settings(run.model(label).get("settings", {}), generator)
        place = order.index(label)
        note = fingerprint, model.bundled, settings, relevant(model.options)
        run.register_model(label, specs[label], place, *note)
        if label in made.unmatched:
            run.write_unmatched(label, made.unmatched[label])
        _remove_leftovers(run, model.label)
    options = {
        **(earlier.options if earlier else {}),
        **{model.label: model.options for model in made.models if model.options},
    }
    final = dataclasses.replace(
        config,
        models=tuple(model_text(run, label, spec) for label, spec in specs.items()),
        functions={},
        prompts="prompts.jsonl",
        text_column=None,
        group_column=None,
        out=".",
        reference=relative_to(run.path, config.reference) if config.reference else None,
        metrics=config.metrics or (earlier.metrics if earlier else ()),
        options=options,
    )
    source = json.dumps(config.prompts if isinstance(config.prompts, str) else "a list in Python")
    comment = f"# Prompts were read from {source}. Paths are relative to this file."
    if earlier and not grew:
        comment = run.config_path.read_text(encoding="utf-8").partition("\n")[0]
    write_atomically(run.config_path, f"{comment}\n{final.to_toml()}")


def _settings(known: Mapping[str, Any], generator: Generator | Service | None) -> dict[str, Any]:
    """The settings as used. A run that is continued on another device has the images of both."""
    used = dict(getattr(generator, "settings", None) or {})
    for name in ("device", "dtype"):
        if name in used and known.get(name):
            both = [*str(known[name]).split(" and "), str(used[name])]
            used[name] = " and ".join(dict.fromkeys(both))
    return {**known, **used}


def model_text(run: Run, label: str, spec: str) -> str:
    """The model as run.toml names it: with its label unless the spec alone gives that."""
    if is_path(spec):
        plain = f"/{os.path.realpath(run.path / spec)}".endswith(f"/{label}")
    else:
        plain = default_label(spec) == label
        if os.path.isdir(spec):  # this name alone would be refused
            spec = f"{INSTALLED}{spec}"
    return spec if plain else labelled(label, spec)


def _remove_leftovers(run: Run, label: str) -> None:
    """Remove temporary files of killed processes; recent ones may belong to another shard."""
    for stale in run.image_folder(label).rglob(".*.png.*"):
        with contextlib.suppress(OSError):
            if time.time() - stale.stat().st_mtime > _LEFTOVER_SECONDS:
                stale.unlink()
