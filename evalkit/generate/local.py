"""Images from a model on this machine, batch by batch."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from PIL.Image import Image

from evalkit.core import EvalkitError, Generator, Record, Refusal, Request
from evalkit.images import encode_png
from evalkit.run_folder import Run
from evalkit.terminal import plugin_output, progress

log = logging.getLogger(__name__)


def fill(
    run: Run,
    label: str,
    generator: Generator,
    requests: Sequence[Request],
    rank: int,
    batch_size: int,
) -> None:
    """Make the requested images: in each batch first the files, then their rows in the manifest."""
    refused, begun = 0, time.perf_counter()
    batch_size = max(batch_size, getattr(generator, "at_once", 0))
    with progress(label, len(requests)) as advance:
        for start in range(0, len(requests), batch_size):
            batch = requests[start : start + batch_size]
            started = time.perf_counter()
            results = _call(generator, label, batch)
            seconds = (time.perf_counter() - started) / len(batch)
            if getattr(generator, "ready_made", False):  # files on the disk: no time to report
                seconds = 0.0
            peak_memory = getattr(generator, "peak_memory", None)
            memory = peak_memory() if peak_memory is not None else 0
            records = [
                _save(run, label, request, result, seconds=seconds, memory=memory)
                for request, result in zip(batch, results, strict=True)
            ]
            run.append_records(label, records, rank)
            refused += sum(record.status != "ok" for record in records)
            advance(len(batch))
    log.info(
        "%s: %d images in %.1f s, %d refused or failed",
        label,
        len(requests) - refused,
        time.perf_counter() - begun,
        refused,
    )


def _save(
    run: Run,
    label: str,
    request: Request,
    result: Image | Refusal,
    *,
    seconds: float,
    memory: int,
) -> Record:
    """The manifest row of a result, written after the image file if there is one."""
    where = (request.prompt.id, request.index, request.sample, request.seed)
    if isinstance(result, Refusal):
        return Record(
            *where, status=result.status, seconds=seconds, detail=result.detail, memory=memory
        )
    note = str(result.info.get("note", ""))
    source = str(result.info.get("source", ""))
    record = Record(*where, "ok", seconds=seconds, extra=note, memory=memory, source=source)
    return run.save_image(label, record, encode_png(result))


def _call(generator: Generator, label: str, batch: Sequence[Request]) -> list[Image | Refusal]:
    """The checked results of one batch; any exception becomes one sentence that names the model."""
    place = f"on prompts {batch[0].prompt.id} to {batch[-1].prompt.id}"
    prompts = [request.prompt.text for request in batch]
    try:
        with plugin_output():
            results = list(generator(prompts, [request.seed for request in batch]))
    except EvalkitError:
        raise
    except Exception as error:  # the generator is a plug-in: it may raise anything
        hint = "Correct the model, then run the same command again: finished images are kept."
        if "memory" in str(error).lower():
            smaller = max(1, len(batch) // 2)
            hint = f"Try a smaller batch: `--batch-size {smaller}`; finished images are kept."
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
        if isinstance(result, Image) and result.mode == "RGB" and result.width and result.height:
            continue
        found = type(result).__name__
        if isinstance(result, Image):
            found = f"an image in mode {result.mode}, {result.size}"
        raise EvalkitError(
            f"The model {label!r} returned {found} {place}; "
            "expected RGB images or evalkit.core.Refusal."
        )
    return results
