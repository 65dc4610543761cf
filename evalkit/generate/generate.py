"""The first stage: prompts and models -> images and their manifests. The same call again goes on
where it stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import time
from collections.abc import Sequence
from typing import NamedTuple, cast

from PIL.Image import Image

from evalkit.config import Config, is_path, spelled_as_path
from evalkit.core import EvalkitError, Generator, Record, Refusal, Request, Service, is_service
from evalkit.files import write_atomically
from evalkit.generate.plan import Plan, plan
from evalkit.generate.remote import send
from evalkit.images import encode_png
from evalkit.prompts import duplicate_count
from evalkit.run_folder import Run
from evalkit.terminal import progress

log = logging.getLogger(__name__)


class Estimate(NamedTuple):
    """What is left to be asked of one model."""

    model: str
    requested: int  # images of the whole run
    missing: int
    price: (
        float | None
    )  # US dollars per image; None where it is not known; 0 for a model that runs here
    total: float | None  # for the missing images


def estimate(config: Config, retry_ambiguous: bool = False) -> list[Estimate]:
    """The cost of `generate` with the same configuration, per model. Nothing is sent and nothing is
    written.
    """
    made = plan(
        dataclasses.replace(config, max_cost=None), retry_ambiguous
    )  # an unknown price is an answer here
    result: list[Estimate] = []
    for label, missing in made.todo.items():
        generator = made.loaded.get(label)
        price = (
            getattr(generator, "price", None)
            if generator is not None and is_service(generator)
            else 0.0
        )
        result.append(
            Estimate(
                label,
                len(made.prompts) * config.per_prompt,
                len(missing),
                price,
                None if price is None else price * len(missing),
            )
        )
    return result


def generate(config: Config, retry_ambiguous: bool = False) -> Run:
    """Make every image of the configuration that is not there yet.

    Everything that can be checked quickly is checked before the folder is touched (see plan). A
    service that stops (no money, no quota, a wrong key, nothing but failures) does not keep the
    other models from their work; its EvalkitError comes last.

    Args:
        config: what to make.
        retry_ambiguous: ask again for images whose request was sent and never answered properly,
            though each may be charged twice.
    """
    made = plan(config, retry_ambiguous)
    if count := duplicate_count(made.prompts):
        log.warning(
            "%d of %d prompts repeat an earlier one; they are kept", count, len(made.prompts)
        )
    _begin(made)
    stopped: list[EvalkitError] = []
    for label in list(made.loaded):
        generator = made.loaded.pop(label)  # pop: its memory is free before the next
        if not is_service(generator):
            _fill(
                made.run,
                label,
                cast(Generator, generator),
                made.todo[label],
                config.batch_size,
                made.rank,
            )
            continue
        try:
            send.fill(
                made.run,
                label,
                cast(Service, generator),
                made.todo[label],
                made.rank,
                made.budget,
                retry_ambiguous,
            )
        except EvalkitError as error:
            stopped.append(error)
    if len(stopped) > 1:
        raise EvalkitError(
            " ".join(error.message for error in stopped),
            stopped[0].hint,
            max(error.exit_code for error in stopped),
        )
    if stopped:
        raise stopped[0]
    return made.run


def _begin(made: Plan) -> None:
    """Write what the run is: prompts.jsonl, each model.json, and run.toml last, with its paths
    relative to itself.
    """
    run, earlier, config, prompts, models, loaded = (
        made.run,
        made.earlier,
        made.config,
        made.prompts,
        made.models,
        made.loaded,
    )
    if not run.prompts_path.is_file():
        run.write_prompts(prompts)

    def relative(spec: str) -> str:
        return (
            spelled_as_path(os.path.relpath(os.path.realpath(spec), os.path.realpath(run.path)))
            if is_path(spec)
            else spec
        )

    specs = [relative(spec) for spec in (earlier.models if earlier else ())]
    specs += [spec for model in models if (spec := relative(model.spec)) not in specs]
    options = {
        **(earlier.options if earlier else {}),
        **{model.label: model.options for model in models if model.options},
    }
    reference = relative(config.reference) if config.reference else None
    for model in models:
        spec = relative(model.spec)
        fingerprint = getattr(loaded.get(model.label), "fingerprint", "") or run.model(
            model.label
        ).get("fingerprint", "")
        run.register_model(model.label, spec, specs.index(spec), fingerprint)
        if unmatched := getattr(loaded.get(model.label), "unmatched", ""):
            write_atomically(run.image_folder(model.label) / "unmatched.txt", unmatched)
        for stale in run.image_folder(model.label).glob(
            ".*.png.*"
        ):  # left by a kill; young ones may be another rank's
            with contextlib.suppress(OSError):
                if time.time() - stale.stat().st_mtime > 600:
                    stale.unlink()
    final = dataclasses.replace(
        config,
        models=tuple(specs),
        prompts="prompts.jsonl",
        out=".",
        reference=reference,
        options=options,
    )
    source = json.dumps(config.prompts if isinstance(config.prompts, str) else "a list in Python")
    comment = f"# Prompts were read from {source}. Paths are relative to this file."
    if earlier:
        comment = run.config_path.read_text(encoding="utf-8").partition("\n")[0]
    write_atomically(run.config_path, f"{comment}\n{final.to_toml()}")


def _fill(
    run: Run,
    label: str,
    generator: Generator,
    requests: Sequence[Request],
    batch_size: int,
    rank: int,
) -> None:
    """Make the images batch by batch: first the files, then their rows in the manifest."""
    refused, begun, batch_size = (
        0,
        time.perf_counter(),
        max(batch_size, getattr(generator, "at_once", 0)),
    )
    with progress(label, len(requests)) as advance:
        for start in range(0, len(requests), batch_size):
            batch = requests[start : start + batch_size]
            started = time.perf_counter()
            results = _call(generator, label, batch)
            seconds = (
                0.0
                if getattr(generator, "ready_made", False)
                else (time.perf_counter() - started) / len(batch)
            )
            pngs = [
                None if isinstance(result, Refusal) else encode_png(result) for result in results
            ]
            memory = generator.peak_memory() if hasattr(generator, "peak_memory") else 0  # pyright: ignore[reportAttributeAccessIssue]
            records = [
                _record(request, result, seconds, memory)
                for request, result in zip(batch, results, strict=True)
            ]
            records = [
                record if png is None else run.save_image(label, record, png)
                for record, png in zip(records, pngs, strict=True)
            ]
            run.append_records(label, records, rank)
            refused += sum(png is None for png in pngs)
            advance(len(batch))
    log.info(
        "%s: %d images in %.1f s, %d refused or failed",
        label,
        len(requests) - refused,
        time.perf_counter() - begun,
        refused,
    )


def _record(request: Request, result: Image | Refusal, seconds: float, memory: int) -> Record:
    where = (request.prompt.id, request.index, request.sample, request.seed)
    if isinstance(result, Refusal):
        return Record(
            *where, status=result.status, seconds=seconds, detail=result.detail, memory=memory
        )
    return Record(
        *where, status="ok", seconds=seconds, extra=str(result.info.get("note", "")), memory=memory
    )


def _call(generator: Generator, label: str, batch: Sequence[Request]) -> list[Image | Refusal]:
    """The generator's answer, checked; whatever it raises becomes one sentence with the model's
    name.
    """
    place = f"on prompts {batch[0].prompt.id} to {batch[-1].prompt.id}"
    try:
        results = list(
            generator(
                [request.prompt.text for request in batch], [request.seed for request in batch]
            )
        )
    except EvalkitError:
        raise
    except Exception as error:  # somebody else's code
        hint = (
            "Mend the model, then run the same command again: it goes on with the missing images."
        )
        if "memory" in str(error).lower():
            hint = f"Try a smaller batch: `--batch-size {max(1, len(batch) // 2)}`; finished images are kept."
        raise EvalkitError(
            f"The model {label!r} failed {place}: {type(error).__name__}: {error}.", hint
        ) from error
    if len(results) != len(batch):
        raise EvalkitError(
            f"The model {label!r} returned {len(results)} results {place}; expected {len(batch)}."
        )
    for result in results:
        if isinstance(result, Refusal):
            continue
        if (
            not isinstance(result, Image)
            or result.mode != "RGB"
            or not result.width
            or not result.height
        ):
            found = (
                f"an image in mode {result.mode}, {result.size}"
                if isinstance(result, Image)
                else type(result).__name__
            )
            raise EvalkitError(
                f"The model {label!r} returned {found} {place}; expected RGB images or evalkit.core.Refusal."
            )
    return results
