"""The first stage: prompts and models -> images and their manifests. The same call again goes on where it stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL.Image import Image

from evalkit import plugins
from evalkit.config import Config, is_path, load_config, spelled_as_path
from evalkit.core import EvalkitError, Generator, Prompt, Record, Refusal, Request
from evalkit.images import encode_png, file_sha256
from evalkit.plugins import Model
from evalkit.prompts import duplicate_count, read_prompts
from evalkit.run_folder import Run, image_seed, write_atomically
from evalkit.terminal import progress

log = logging.getLogger(__name__)
RETRIED = ("rate_limited", "quota", "auth", "transient")  # outcomes that may be different next time
_LEAST_BYTES, _USUAL_BYTES = 2 * 1024, 256 * 1024  # per image: below this it cannot fit, below that it may not


def generate(config: Config) -> Run:
    """Make every image of the configuration that is not there yet.

    Everything that can be checked quickly is checked before the folder is touched: prompts, models and their options,
    weights, an earlier configuration of the same folder, permission and space. All models with work left are loaded
    at once; where that is too much memory, name them in one command each with the same `out`.
    """
    rank, world = _rank()
    prompts = read_prompts(config.prompts) if isinstance(config.prompts, str) else list(config.prompts)
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
    todo = {model.label: _missing(run, model.label, requests[rank::world]) for model in models}
    loaded = {model.label: plugins.load_generator(model, config.device, requests) for model in models if todo[model.label]}
    for label, generator in loaded.items():
        _check_fingerprint(run, label, generator)

    if count := duplicate_count(prompts):
        log.warning("%d of %d prompts repeat an earlier one; they are kept", count, len(prompts))
    _begin(run, earlier, config, prompts, models, loaded)
    for label in list(loaded):
        _fill(run, label, loaded.pop(label), todo[label], config.batch_size, rank)  # pop: its memory is free before the next
    return run


def requests_of(prompts: Sequence[Prompt], per_prompt: int, seed: int) -> list[Request]:
    """Every image of a run, in order."""
    return [
        Request(prompt, index, sample, image_seed(seed, prompt.id, sample))
        for index, prompt in enumerate(prompts)
        for sample in range(per_prompt)
    ]


def default_out(config: Config, prompts: Sequence[Prompt], models: Sequence[Model]) -> Path:
    """`reports/<models>-<prompts>-<hash>`: the same command finds its own folder again, another one never meets it."""
    said = Path(config.prompts).stem if isinstance(config.prompts, str) else "prompts"
    plain = re.sub(r"[^a-z0-9]+", "-", "-".join([*(model.label for model in models), said]).lower()).strip("-")[:60]
    identity = [[dataclasses.astuple(prompt) for prompt in prompts], config.seed, config.per_prompt]
    identity += [[model.label, model.spec, sorted(model.options.items())] for model in models]
    return Path("reports") / f"{plain}-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]}"


def _check_folder(run: Run) -> None:
    """Refuse a path that is something else than a run folder."""
    if not run.path.exists():
        return
    if not run.path.is_dir():
        raise EvalkitError(f"{run.path} is a file; expected a folder to write the run into.", "Choose another --out.")
    other = [item.name for item in run.path.iterdir() if not item.name.startswith(".")]
    if other and not run.config_path.is_file() and not run.prompts_path.is_file():
        raise EvalkitError(f"{run.path} is not empty and is no run folder: it holds {min(other)}.", "Choose another --out.")


def _earlier(run: Run) -> Config | None:
    """The configuration that the folder was made with."""
    return load_config(run.config_path, {}) if run.config_path.is_file() else None


def _known(run: Run) -> dict[str, str]:
    """Canonical spec -> label of the models that the folder has already: a label stays with its folder."""
    notes = [run.model(label) for label in run.models()]
    return {os.path.realpath(run.path / note["spec"]) if is_path(note["spec"]) else note["spec"]: note["label"] for note in notes}


def _check_same(run: Run, earlier: Config, config: Config, models: Sequence[Model]) -> None:
    """Images that exist must be those that this configuration would make; models may come and go, scores have no say."""
    pairs = [(key, getattr(earlier, key), getattr(config, key)) for key in ("seed", "per_prompt")]
    begun = set(run.models())
    for model in models:
        if model.label in begun:
            old = earlier.options.get(model.label, {})
            pairs += [(f"{model.label}.{key}", old.get(key), model.options.get(key)) for key in sorted({*old, *model.options})]
    changed = [f"{name} {old!r} -> {new!r}" for name, old, new in pairs if old != new]
    if changed:
        raise _other(run, changed)


def _check_prompts(run: Run, prompts: Sequence[Prompt]) -> None:
    if not run.prompts_path.is_file() or (old := run.prompts()) == list(prompts):
        return
    if len(old) != len(prompts):
        raise _other(run, [f"prompts {len(old)} -> {len(prompts)} of them"])
    before, after = next((before, after) for before, after in zip(old, prompts, strict=True) if before != after)
    fields = [key for key in ("id", "text", "group") if getattr(before, key) != getattr(after, key)]
    raise _other(run, [f"{key} of prompt {before.id} {getattr(before, key)!r:.80} -> {getattr(after, key)!r:.80}" for key in fields])


def _other(run: Run, changed: Sequence[str]) -> EvalkitError:
    hint = f"Choose another --out, or repeat that run with `evalkit run --config {shlex.quote(str(run.config_path))}`."
    return EvalkitError(f"{run.path} was made with another configuration: {'; '.join(changed)}.", hint)


def _check_disk(path: Path, images: int) -> None:
    """Permission, and a rough look at the space: fail where it cannot suffice, warn where it may not."""
    place = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise EvalkitError(f"The run folder {path} cannot be made: {place} is not a folder that you may write to.", "Choose another --out.")
    free = shutil.disk_usage(place).free
    if free < images * _LEAST_BYTES:
        raise EvalkitError(
            f"{place} has {free >> 20} MiB left; expected room for {images} images.", "Free some space or choose another --out."
        )
    if free < images * _USUAL_BYTES:
        log.warning("%s has %d MiB left, which may be too little for %d images", place, free >> 20, images)


def _missing(run: Run, label: str, requests: Sequence[Request]) -> list[Request]:
    """The requests without an outcome that stands: a whole image with the recorded bytes, or a final refusal."""
    records = {(record.index, record.sample): record for record in run.records(label)}

    def stands(record: Record | None) -> bool:
        if record is None or record.status in RETRIED:
            return False
        path = run.image_path(label, record)
        return record.status != "ok" or (path.is_file() and file_sha256(path) == record.sha256)

    return [request for request in requests if not stands(records.get((request.index, request.sample)))]


def _check_fingerprint(run: Run, label: str, generator: Generator) -> None:
    old, new = run.model(label).get("fingerprint", ""), getattr(generator, "fingerprint", "")
    if old and new and old != new:
        hint = f"Choose another --out, or delete {run.image_folder(label)} to make its images again."
        raise EvalkitError(f"The model {label!r} has other weights or pictures than when {run.path} was begun.", hint)


def _begin(
    run: Run, earlier: Config | None, config: Config, prompts: Sequence[Prompt], models: Sequence[Model], loaded: Mapping[str, Generator]
) -> None:
    """Write what the run is: prompts.jsonl, each model.json, and run.toml last, with its paths relative to itself."""
    if not run.prompts_path.is_file():
        run.write_prompts(prompts)

    def relative(spec: str) -> str:
        return spelled_as_path(os.path.relpath(os.path.realpath(spec), os.path.realpath(run.path))) if is_path(spec) else spec

    specs = [relative(spec) for spec in (earlier.models if earlier else ())]
    specs += [spec for model in models if (spec := relative(model.spec)) not in specs]
    options = {**(earlier.options if earlier else {}), **{model.label: model.options for model in models if model.options}}
    reference = relative(config.reference) if config.reference else None
    for model in models:
        spec = relative(model.spec)
        fingerprint = getattr(loaded.get(model.label), "fingerprint", "") or run.model(model.label).get("fingerprint", "")
        run.register_model(model.label, spec, specs.index(spec), fingerprint)
        for stale in run.image_folder(model.label).glob(".*.png.*"):  # left by a kill; young ones may be another rank's
            with contextlib.suppress(OSError):
                if time.time() - stale.stat().st_mtime > 600:
                    stale.unlink()
    final = dataclasses.replace(config, models=tuple(specs), prompts="prompts.jsonl", out=".", reference=reference, options=options)
    source = json.dumps(config.prompts if isinstance(config.prompts, str) else "a list in Python")
    comment = f"# Prompts were read from {source}. Paths are relative to this file."
    if earlier:
        comment = run.config_path.read_text(encoding="utf-8").partition("\n")[0]
    write_atomically(run.config_path, f"{comment}\n{final.to_toml()}")


def _fill(run: Run, label: str, generator: Generator, requests: Sequence[Request], batch_size: int, rank: int) -> None:
    """Make the images batch by batch: first the files, then their rows in the manifest."""
    refused, begun = 0, time.perf_counter()
    with progress(label, len(requests)) as advance:
        for start in range(0, len(requests), batch_size):
            batch = requests[start : start + batch_size]
            started = time.perf_counter()
            results = _call(generator, label, batch)
            seconds = 0.0 if getattr(generator, "ready_made", False) else (time.perf_counter() - started) / len(batch)
            pngs = [None if isinstance(result, Refusal) else encode_png(result) for result in results]
            records = [_record(request, result, seconds) for request, result in zip(batch, results, strict=True)]
            records = [record if png is None else run.save_image(label, record, png) for record, png in zip(records, pngs, strict=True)]
            run.append_records(label, records, rank)
            refused += sum(png is None for png in pngs)
            advance(len(batch))
    log.info("%s: %d images in %.1f s, %d refused or failed", label, len(requests) - refused, time.perf_counter() - begun, refused)


def _record(request: Request, result: Image | Refusal, seconds: float) -> Record:
    where = (request.prompt.id, request.index, request.sample, request.seed)
    if isinstance(result, Refusal):
        return Record(*where, status=result.status, seconds=seconds, detail=result.detail)
    return Record(*where, status="ok", seconds=seconds, extra=str(result.info.get("note", "")))


def _call(generator: Generator, label: str, batch: Sequence[Request]) -> list[Image | Refusal]:
    """The generator's answer, checked; whatever it raises becomes one sentence with the model's name."""
    place = f"on prompts {batch[0].prompt.id} to {batch[-1].prompt.id}"
    try:
        results = list(generator([request.prompt.text for request in batch], [request.seed for request in batch]))
    except EvalkitError:
        raise
    except Exception as error:  # somebody else's code
        hint = "Mend the model, then run the same command again: it goes on with the missing images."
        if "memory" in str(error).lower():
            hint = f"Try a smaller batch: `--batch-size {max(1, len(batch) // 2)}`; finished images are kept."
        raise EvalkitError(f"The model {label!r} failed {place}: {type(error).__name__}: {error}.", hint) from error
    if len(results) != len(batch):
        raise EvalkitError(f"The model {label!r} returned {len(results)} results {place}; expected {len(batch)}.")
    for result in results:
        if isinstance(result, Refusal):
            continue
        if not isinstance(result, Image) or result.mode != "RGB" or not result.width or not result.height:
            found = f"an image in mode {result.mode}, {result.size}" if isinstance(result, Image) else type(result).__name__
            raise EvalkitError(f"The model {label!r} returned {found} {place}; expected RGB images or evalkit.core.Refusal.")
    return results


def _rank() -> tuple[int, int]:
    """This process among its siblings, as torchrun and Slurm launchers set it."""
    rank, world = (os.environ.get(key, default) for key, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise EvalkitError(
            f"RANK is {rank!r} and WORLD_SIZE is {world!r}; expected 0 <= RANK < WORLD_SIZE.", "Unset both to use one process."
        )
    return int(rank), int(world)
