"""What a run is about to do, with everything checked that can be checked quickly, before its folder
is touched.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit import plugins
from evalkit.config import Config, Value, is_path, load_config
from evalkit.core import EvalkitError, Generator, Prompt, Record, Request, Service, is_service
from evalkit.generate.remote import send
from evalkit.generate.remote.budget import Budget
from evalkit.generate.remote.jobs import spent
from evalkit.images import file_sha256
from evalkit.plugins import Model
from evalkit.prompts import read_prompts
from evalkit.run_folder import Run
from evalkit.seeds import image_seed

log = logging.getLogger(__name__)
RETRIED = ("rate_limited", "quota", "auth", "transient")  # outcomes that may be different next time
_NO_MATTER = (
    "price",
    "timeout",
    "api_key_env",
)  # options on which no image depends, by their names
_LEAST_BYTES, _USUAL_BYTES = (
    2 * 1024,
    256 * 1024,
)  # per image: below this it cannot fit, below that it may not


@dataclass(frozen=True)
class Plan:
    """A run that was checked. Nothing of it has been written."""

    run: Run
    earlier: Config | None  # the configuration that the folder was made with
    config: Config
    prompts: list[Prompt]
    models: list[Model]
    todo: dict[str, list[Request]]  # label -> the images without an outcome that stands
    loaded: dict[str, Generator | Service]  # of the models with something to do
    budget: Budget
    rank: int


def plan(config: Config, retry_ambiguous: bool = False) -> Plan:
    """Check everything that can be checked quickly, and load the models with work left.

    Prompts, models and their options, weights, an earlier configuration of the same folder,
    permission, space and prices. All models are loaded at once; where that is too much memory, name
    them in one command each with the same `out`.
    """
    rank, world = _rank()
    prompts = (
        read_prompts(config.prompts) if isinstance(config.prompts, str) else list(config.prompts)
    )
    models = plugins.models(config.models, config.options)
    run = Run(config.out or default_out(config, prompts, models))
    _check_folder(run)
    earlier = _earlier(run)
    if earlier is not None:
        models = plugins.models(config.models, config.options, _known(run))
        _check_same(run, earlier, config, models)
    _check_prompts(run, prompts)
    requests = requests_of(prompts, config.per_prompt, config.seed)
    _check_disk(run.path, len(requests) * len(models))
    again = (*RETRIED, *send.DOUBTFUL) if retry_ambiguous else RETRIED
    mine = requests[rank::world]
    todo = {model.label: _missing(run, model.label, mine, again) for model in models}
    loaded: dict[str, Generator | Service] = {
        model.label: plugins.load_generator(model, config.device, requests)
        for model in models
        if todo[model.label]
    }
    for label, generator in loaded.items():
        _check_fingerprint(run, label, generator)
    # Each rank has its share of the money and looks at its own images only: together they keep to
    # the limit.
    already = sum(spent(run, label, mine) for label in {*run.models(), *todo})
    budget = Budget(None if config.max_cost is None else config.max_cost / world, already)
    for label, generator in loaded.items():
        if is_service(generator):
            budget.check(label, getattr(generator, "price", None))
    return Plan(run, earlier, config, prompts, models, todo, loaded, budget, rank)


def requests_of(prompts: Sequence[Prompt], per_prompt: int, seed: int) -> list[Request]:
    """Every image of a run, in order."""
    return [
        Request(prompt, index, sample, image_seed(seed, prompt.id, sample))
        for index, prompt in enumerate(prompts)
        for sample in range(per_prompt)
    ]


def default_out(config: Config, prompts: Sequence[Prompt], models: Sequence[Model]) -> Path:
    """`reports/<models>-<prompts>-<hash>`: the same command finds its own folder again, another one
    never meets it.
    """
    said = Path(config.prompts).stem if isinstance(config.prompts, str) else "prompts"
    plain = re.sub(
        r"[^a-z0-9]+", "-", "-".join([*(model.label for model in models), said]).lower()
    ).strip("-")[:60]
    identity = [[dataclasses.astuple(prompt) for prompt in prompts], config.seed, config.per_prompt]
    identity += [
        [model.label, model.spec, sorted(_that_matter(model.options).items())] for model in models
    ]
    return (
        Path("reports") / f"{plain}-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]}"
    )


def _check_folder(run: Run) -> None:
    """Refuse a path that is something else than a run folder."""
    if not run.path.exists():
        return
    if not run.path.is_dir():
        raise EvalkitError(
            f"{run.path} is a file; expected a folder to write the run into.",
            "Choose another --out.",
        )
    other = [item.name for item in run.path.iterdir() if not item.name.startswith(".")]
    if other and not run.config_path.is_file() and not run.prompts_path.is_file():
        raise EvalkitError(
            f"{run.path} is not empty and is no run folder: it holds {min(other)}.",
            "Choose another --out.",
        )


def _earlier(run: Run) -> Config | None:
    """The configuration that the folder was made with."""
    return load_config(run.config_path, {}) if run.config_path.is_file() else None


def _known(run: Run) -> dict[str, str]:
    """Canonical spec -> label of the models that the folder has already: a label stays with its
    folder.
    """
    notes = [run.model(label) for label in run.models()]
    return {
        os.path.realpath(run.path / note["spec"]) if is_path(note["spec"]) else note["spec"]: note[
            "label"
        ]
        for note in notes
    }


def _check_same(run: Run, earlier: Config, config: Config, models: Sequence[Model]) -> None:
    """Images that exist must be those that this configuration would make; models may come and go,
    scores have no say.
    """
    pairs = [(key, getattr(earlier, key), getattr(config, key)) for key in ("seed", "per_prompt")]
    begun = set(run.models())
    for model in models:
        if model.label in begun:
            old, new = (
                _that_matter(earlier.options.get(model.label, {})),
                _that_matter(model.options),
            )
            pairs += [
                (f"{model.label}.{key}", old.get(key), new.get(key)) for key in sorted({*old, *new})
            ]
    changed = [f"{name} {old!r} -> {new!r}" for name, old, new in pairs if old != new]
    if changed:
        raise _other(run, changed)


def _check_prompts(run: Run, prompts: Sequence[Prompt]) -> None:
    if not run.prompts_path.is_file() or (old := run.prompts()) == list(prompts):
        return
    if len(old) != len(prompts):
        raise _other(run, [f"prompts {len(old)} -> {len(prompts)} of them"])
    before, after = next(
        (before, after) for before, after in zip(old, prompts, strict=True) if before != after
    )
    fields = [key for key in ("id", "text", "group") if getattr(before, key) != getattr(after, key)]
    raise _other(
        run,
        [
            f"{key} of prompt {before.id} {getattr(before, key)!r:.80} -> {getattr(after, key)!r:.80}"
            for key in fields
        ],
    )


def _other(run: Run, changed: Sequence[str]) -> EvalkitError:
    hint = f"Choose another --out, or repeat that run with `evalkit run --config {shlex.quote(str(run.config_path))}`."
    return EvalkitError(
        f"{run.path} was made with another configuration: {'; '.join(changed)}.", hint
    )


def _check_disk(path: Path, images: int) -> None:
    """Permission, and a rough look at the space: fail where it cannot suffice, warn where it may
    not.
    """
    place = next(
        folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists()
    )
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise EvalkitError(
            f"The run folder {path} cannot be made: {place} is not a folder that you may write to.",
            "Choose another --out.",
        )
    free = shutil.disk_usage(place).free
    if free < images * _LEAST_BYTES:
        raise EvalkitError(
            f"{place} has {free >> 20} MiB left; expected room for {images} images.",
            "Free some space or choose another --out.",
        )
    if free < images * _USUAL_BYTES:
        log.warning(
            "%s has %d MiB left, which may be too little for %d images", place, free >> 20, images
        )


def _missing(
    run: Run, label: str, requests: Sequence[Request], again: Sequence[str]
) -> list[Request]:
    """The requests without an outcome that stands: a whole image with the recorded bytes, or a
    final refusal.
    """
    records = {(record.index, record.sample): record for record in run.records(label)}

    def stands(record: Record | None) -> bool:
        if record is None or record.status in again:
            return False
        path = run.image_path(label, record)
        return record.status != "ok" or (path.is_file() and file_sha256(path) == record.sha256)

    return [
        request for request in requests if not stands(records.get((request.index, request.sample)))
    ]


def _that_matter(options: Mapping[str, Value]) -> dict[str, Value]:
    """The options on which images depend."""
    return {name: value for name, value in options.items() if name not in _NO_MATTER}


def _check_fingerprint(run: Run, label: str, generator: object) -> None:
    """Images of one model in one folder come from one thing: the same weights, or the same service
    asked in the same way.
    """
    old, new = run.model(label).get("fingerprint", ""), getattr(generator, "fingerprint", "")
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
        raise EvalkitError(
            f"{run.path} holds images that {label!r} made in another way: {changed or f'{old} -> {new}'}.",
            hint,
        )
    raise EvalkitError(
        f"The model {label!r} has other weights or pictures than when {run.path} was begun.", hint
    )


def _fields(fingerprint: str) -> dict[str, str]:
    """The parts of a service's fingerprint, `adapter/1 https://host/v1 model=a size=b`, by name."""
    found: dict[str, str] = {}
    for place, word in enumerate(fingerprint.split()):
        name, equals, value = word.partition("=")
        plain = "base_url" if "://" in word else "adapter" if place == 0 else f"part {place + 1}"
        found |= {name: value} if equals and name.isidentifier() else {plain: word}
    return found


def _rank() -> tuple[int, int]:
    """This process among its siblings, as torchrun and Slurm launchers set it."""
    rank, world = (
        os.environ.get(key, default) for key, default in (("RANK", "0"), ("WORLD_SIZE", "1"))
    )
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise EvalkitError(
            f"RANK is {rank!r} and WORLD_SIZE is {world!r}; expected 0 <= RANK < WORLD_SIZE.",
            "Unset both to use one process.",
        )
    return int(rank), int(world)
