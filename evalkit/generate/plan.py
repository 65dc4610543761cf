"""What a call will do, with everything checked that can be checked before the folder is touched."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from evalkit import plugins
from evalkit.config import Config, load_config
from evalkit.core import EvalkitError, Generator, Prompt, Record, Request, Service, is_service
from evalkit.generate import growth
from evalkit.generate.remote import spent
from evalkit.generators.folder import Folder
from evalkit.hints import plural
from evalkit.images import file_sha256
from evalkit.plugins import Model
from evalkit.prompts import read_prompts
from evalkit.prompts.perturb import with_variants
from evalkit.remote import retry
from evalkit.remote.budget import Budget
from evalkit.run_config import relevant, run_config
from evalkit.run_folder import Run
from evalkit.seeds import image_seed
from evalkit.shards import WHOLE, Shard
from evalkit.specs import is_path

log = logging.getLogger(__name__)
_LEAST_BYTES = 2 * 1024  # per image: with less free space, refuse
_USUAL_BYTES = 256 * 1024  # per image: with less free space, warn


@dataclass(frozen=True)
class Plan:
    """A checked run. Nothing of it has been written."""

    run: Run
    earlier: Config | None  # the configuration that the folder was made with
    config: Config
    prompts: list[Prompt]
    models: list[Model]
    todo: dict[str, list[Request]]  # label -> the images without a final outcome
    loaded: dict[str, Generator | Service]  # label -> models with missing images
    unmatched: dict[str, str]  # label -> the content of unmatched.txt
    budget: Budget
    shard: Shard

    @property
    def requested(self) -> int:
        """The images of each model in the whole run."""
        return len(self.prompts) * self.config.per_prompt


def plan(
    config: Config,
    retry_ambiguous: bool = False,
    hold: Callable[[AbstractContextManager[None]], object] | None = None,
    shard: Shard = WHOLE,
    load: bool = True,
) -> Plan:
    """Check everything that can be checked quickly, and load the models with missing images.

    `hold` is called with the lock on the images before the content of the folder is read; then a
    lost prompts.jsonl is written again.

    Checked are prompts, models and their options, weights, an earlier configuration of the same
    folder, permissions, disk space and prices. All models are loaded at once; if that takes too
    much memory, run one command per model with the same `out`.
    """
    prompts = read_given(config)
    models = plugins.models(config.models, config.options, {}, config.functions)
    run = Run(config.out or default_out(config, prompts, models))
    _check_folder(run)
    if hold is not None:
        hold(run.making_images(shard))
        run.restore_prompts(prompts)
    earlier = earlier_config(run)
    models = models_of(run, config)
    check_same(run, earlier, config, models)
    prompts = growth.grown(run, prompts)
    requests = requests_of(prompts, config.per_prompt, config.seed)
    _check_disk(run.path, len(requests) * len(models))
    again = (*retry.PASSING, *retry.DOUBTFUL) if retry_ambiguous else retry.PASSING
    mine = shard.of(requests)
    todo = {model.label: _missing(run, model.label, mine, again) for model in models}
    loaded: dict[str, Generator | Service] = {
        model.label: plugins.load_generator(model, config.device, requests)
        for model in models
        if load and (todo[model.label] or _sources_changed(run, model))
    }
    unmatched: dict[str, str] = {}
    for model in models:
        done = len(mine) - len(todo[model.label])
        if model.code and done:
            log.warning(
                "%s: %s of an earlier call; a change of its source or of simple values would be"
                " noticed, a change elsewhere would not",
                model.label,
                f"{done:,} of {plural(len(mine), 'image')} are"
                if todo[model.label]
                else "all images are those",
            )
    for model in models:
        label, generator = model.label, loaded.get(model.label)
        if isinstance(generator, Folder):
            todo[label] = growth.still_missing(run, label, generator, requests, todo[label])
            if not todo[label]:
                del loaded[label]
        else:
            check_fingerprint(run, model, generator)
        paid = generator is not None and is_service(generator)
        growth.mention_lost_rows(run, label, todo[label], paid)
        if (text := getattr(generator, "unmatched", None)) is not None:
            unmatched[label] = text
    # Each shard has an equal share of the limit and counts its own images only.
    already = sum(spent(run, label, mine) for label in {*run.models(), *todo})
    budget = Budget(None if config.max_cost is None else config.max_cost / shard.count, already)
    for label, generator in loaded.items():
        if is_service(generator):
            hint = f"Set an upper bound in US dollars per image: `--set {label}.price=0.04`."
            budget.check(label, getattr(generator, "price", None), hint)
    return Plan(run, earlier, config, prompts, models, todo, loaded, unmatched, budget, shard)


def read_given(config: Config) -> list[Prompt]:
    """The prompts of a configuration, with the variants that it asks for."""
    if isinstance(config.prompts, str):
        prompts = read_prompts(config.prompts, config.text_column, config.group_column)
    else:
        prompts = list(config.prompts)
    return with_variants(prompts, config.perturb, config.seed)


def requests_of(prompts: Sequence[Prompt], per_prompt: int, seed: int) -> list[Request]:
    """Every image of a run, in order."""
    return [
        Request(prompt, index, sample, image_seed(seed, prompt.id, sample))
        for index, prompt in enumerate(prompts)
        for sample in range(per_prompt)
    ]


def default_out(config: Config, prompts: Sequence[Prompt], models: Sequence[Model]) -> Path:
    """`reports/<models>-<prompts>-<hash>`: the same command finds its own folder again.

    The hash covers everything that the images depend on.
    """
    source = Path(config.prompts).stem if isinstance(config.prompts, str) else "prompts"
    words = "-".join([*(model.label for model in models), source]).lower()
    plain = re.sub(r"[^a-z0-9]+", "-", words).strip("-")[:60]
    identity = [[dataclasses.astuple(prompt) for prompt in prompts], config.seed, config.per_prompt]
    identity += [
        [model.label, model.spec, sorted(relevant(model.options).items())]
        + [model.code] * bool(model.code)
        for model in models
    ]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    return Path("reports") / f"{plain}-{digest[:8]}"


def models_of(run: Run, config: Config) -> list[Model]:
    """The models of a configuration, with the labels that they have in the run."""
    return plugins.models(config.models, config.options, _known(run), config.functions)


def _check_folder(run: Run) -> None:
    """Refuse an existing path that is not a run folder."""
    try:
        exists = run.path.exists()
    except OSError as error:  # a name that no folder can have
        raise EvalkitError(
            f"The run folder {run.path!s:.100}… cannot be used: {error.strerror}.",
            "Choose another --out.",
            code="generate-8",
        ) from error
    if not exists:
        return
    if not run.path.is_dir():
        raise EvalkitError(
            f"{run.path} is a file; expected a folder to write the run into.",
            "Choose another --out.",
            code="generate-9",
        )
    other = [item.name for item in run.path.iterdir() if not item.name.startswith(".")]
    if other and not run.config_path.is_file() and not run.prompts_path.is_file():
        raise EvalkitError(
            f"{run.path} is not empty and is not a run folder: it holds {min(other)}.",
            "Choose another --out.",
            code="generate-10",
        )


def earlier_config(run: Run) -> Config | None:
    """The configuration with which the folder was made."""
    return load_config(run.config_path, {}) if run_config(run) else None


def _known(run: Run) -> dict[str, str]:
    """Label -> canonical spec of the models that the folder already has, so that labels stay."""

    def canonical(spec: str) -> str:
        return os.path.realpath(run.path / spec) if is_path(spec) else spec

    return {label: canonical(run.model(label)["spec"]) for label in run.models()}


def check_same(run: Run, earlier: Config | None, config: Config, models: Sequence[Model]) -> None:
    """Refuse a configuration that would make other images than the folder has.

    The list of models may differ, there may be more samples, and everything that concerns scores
    only may change. For prompts see `growth.grown`, for the seed without run.toml `_missing`.
    """
    pairs: list[tuple[str, object, object]] = []
    if earlier is not None:
        if lost := [kind for kind in earlier.perturb if kind not in config.perturb]:
            raise EvalkitError(
                f"{run.path} has the variants {', '.join(earlier.perturb)} of its prompts, and"
                f" perturb lacks {', '.join(lost)}. A run may grow, not shrink.",
                f"Give `--perturb {','.join(dict.fromkeys([*earlier.perturb, *config.perturb]))}`,"
                " or choose another --out.",
                code="generate-11",
            )
        pairs.append(("seed", earlier.seed, config.seed))
    begun = set(run.models())
    for model in models:
        if model.label in begun:
            known = earlier.options.get(model.label, {}) if earlier is not None else {}
            old = relevant(run.model(model.label).get("options", known))
            new = relevant(model.options)
            pairs += [
                (f"{model.label}.{key}", old.get(key), new.get(key)) for key in sorted({*old, *new})
            ]
    changed = [f"{name} {old!r} -> {new!r}" for name, old, new in pairs if old != new]
    if changed:
        raise growth.other_run(run, changed)
    records = [record for label in begun for record in run.records(label)]
    made = max((record.sample + 1 for record in records), default=1)
    made = made if earlier is None else max(made, earlier.per_prompt)
    if config.per_prompt < made:
        raise EvalkitError(
            f"per_prompt is {config.per_prompt}, and {run.path} has {made} images per prompt;"
            " expected at least as many. A run may grow, not shrink.",
            f"Give `--per-prompt {made}` or more, or choose another --out.",
            code="generate-12",
        )


def _check_disk(path: Path, images: int) -> None:
    """Refuse a folder without permission or enough space; warn if space may be too little."""
    # Not the absolute path: nobody has to be allowed to look into the folders above.
    place = next(folder for folder in (path, *path.parents) if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise EvalkitError(
            f"The run folder {path} cannot be made: {place.absolute()} is not a writable folder.",
            "Choose another --out.",
            code="generate-13",
        )
    free = shutil.disk_usage(place).free
    if free < images * _LEAST_BYTES:
        raise EvalkitError(
            f"{place.absolute()} has {free >> 20} MiB left; expected room for {images} images.",
            "Free some space or choose another --out.",
            code="generate-14",
        )
    if free < images * _USUAL_BYTES:
        log.warning(
            "%s has %d MiB left, which may be too little for %d images", place, free >> 20, images
        )


def _missing(
    run: Run, label: str, requests: Sequence[Request], again: Sequence[str]
) -> list[Request]:
    """The requests without a final outcome, which is an undamaged image or a final refusal."""
    records = {(record.index, record.sample): record for record in run.records(label)}

    for request in requests:
        record = records.get((request.index, request.sample))
        if record is not None and record.seed != request.seed:
            raise EvalkitError(
                f"{run.path} has images of {label!r} with other seeds: image {record.index} has"
                f" {record.seed}, and this configuration gives {request.seed}.",
                "Use the seed and prompts of that run, or choose another --out.",
                code="generate-15",
            )

    def final(record: Record | None) -> bool:
        if record is None or record.status in again or growth.may_be_added(record):
            return False
        path = run.image_path(label, record)
        return record.status != "ok" or (path.is_file() and file_sha256(path) == record.sha256)

    return [
        request for request in requests if not final(records.get((request.index, request.sample)))
    ]


def _sources_changed(run: Run, model: Model) -> bool:
    """Whether images of a folder are gone, or newer than the run's rows about them."""
    if not is_path(model.spec) or model.pipeline:
        return False
    manifests = run.image_folder(model.label).glob("manifest.*.jsonl")
    written = max((path.stat().st_mtime for path in manifests), default=0.0)
    for record in run.records(model.label):
        file = Path(model.spec, record.source)
        if record.source and not (file.is_file() and file.stat().st_mtime <= written):
            return True
    return False


def fingerprint_of(model: Model, generator: object) -> str:
    """What the images depend on: as the generator states it, else the hash of its source."""
    return getattr(generator, "fingerprint", "") or model.code


def check_fingerprint(run: Run, model: Model, generator: Generator | Service | None) -> None:
    """Refuse other weights, or another configuration of a service, than the folder's images had."""
    label = model.label
    old, new = run.model(label).get("fingerprint", ""), fingerprint_of(model, generator)
    if not (old and new and old != new):
        return
    hint = f"Choose another --out, or delete {run.image_folder(label)} to make its images again."
    if is_service(generator):
        before, after = _fields(old), _fields(new)
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        changed = "; ".join(
            f"{name} {before.get(name, 'nothing')} -> {after.get(name, 'nothing')}"
            for name in names
        )
        changed = changed or f"{old} -> {new}"
        raise EvalkitError(
            f"{run.path} holds images that {label!r} made in another way: {changed}.",
            hint,
            code="generate-16",
        )
    changed = "code" if new == model.code else "weights or images"
    raise EvalkitError(
        f"The model {label!r} has other {changed} than when {run.path} was begun.",
        hint,
        code="generate-17",
    )


def _fields(fingerprint: str) -> dict[str, str]:
    """The parts of a service's fingerprint, `adapter/1 https://host/v1 model=a size=b`, by name."""
    found: dict[str, str] = {}
    for place, word in enumerate(fingerprint.split()):
        name, equals, value = word.partition("=")
        plain = "base_url" if "://" in word else "adapter" if place == 0 else f"part {place + 1}"
        found |= {name: value} if equals and name.isidentifier() else {plain: word}
    return found
