"""Images from a model on this machine, batch by batch."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from PIL.Image import Image, fromarray

from evalkit.core import EvalkitError, Generator, Record, Refusal, Request
from evalkit.images import encode_png
from evalkit.run_folder import Run
from evalkit.terminal import plugin_output, progress

log = logging.getLogger(__name__)
_CORRECT = "Correct the model, then run the same command again: finished images are kept."


def fill(
    run: Run,
    label: str,
    generator: Generator,
    requests: Sequence[Request],
    rank: int,
    batch_size: int,
) -> None:
    """Make the requested images: in each batch first the files, then their rows in the manifest."""
    counts, begun = Counter[str](), time.perf_counter()
    ready_made = getattr(generator, "ready_made", False)  # files on the disk: no time to report
    batch_size = max(batch_size, getattr(generator, "at_once", 0))
    batch_size = min(batch_size, getattr(generator, "at_most", batch_size))
    with progress(f"reading {label}" if ready_made else label, len(requests)) as advance:
        for start in range(0, len(requests), batch_size):
            batch = requests[start : start + batch_size]
            started = time.perf_counter()
            results = _call(generator, label, batch)
            seconds = (time.perf_counter() - started) / len(batch)
            if ready_made:
                seconds = 0.0
            peak_memory = getattr(generator, "peak_memory", None)
            memory = peak_memory() if peak_memory is not None else 0
            records = [
                _save(run, label, request, result, seconds=seconds, memory=memory)
                for request, result in zip(batch, results, strict=True)
            ]
            run.append_records(label, records, rank)
            counts.update(record.status for record in records)
            advance(len(batch))
    log.info(
        "%s: %d images %s in %.1f s%s, %d refused or failed",
        *(label, counts["ok"], "read" if ready_made else "generated", time.perf_counter() - begun),
        f", {counts['missing']} missing" if counts["missing"] else "",
        counts.total() - counts["ok"] - counts["missing"],
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
    if isinstance(result, Refusal):
        return request.record(result.status, seconds=seconds, detail=result.detail, memory=memory)
    note = str(result.info.get("note", ""))
    source = str(result.info.get("source", ""))
    record = request.record("ok", seconds=seconds, extra=note, memory=memory, source=source)
    return run.save_image(label, record, encode_png(result))


def _call(generator: Generator, label: str, batch: Sequence[Request]) -> list[Image | Refusal]:
    """The checked results of one batch; any exception becomes one sentence that names the model."""
    place = f"on prompts {batch[0].prompt.id} to {batch[-1].prompt.id}"
    prompts = [request.prompt.text for request in batch]
    try:
        with plugin_output():
            results = generator(prompts, [request.seed for request in batch])
            results = list(results) if isinstance(results, Iterable) else results
    except EvalkitError:
        raise
    except Exception as error:  # the generator is a plug-in: it may raise anything
        hint = _CORRECT
        if "memory" in str(error).lower():
            smaller = max(1, len(batch) // 2)
            hint = f"Try a smaller batch: `--batch-size {smaller}`; finished images are kept."
        raise EvalkitError(
            f"The model {label!r} failed {place}: {type(error).__name__}: {error}.", hint
        ) from error
    if not isinstance(results, list):
        raise _wrong(label, place, _type(results), f"a list of {len(batch)} images")
    if len(results) != len(batch):
        raise _wrong(label, place, f"{len(results)} results", str(len(batch)))
    return [_checked(result, label, place) for result in results]


def _checked(result: object, label: str, place: str) -> Image | Refusal:
    """The result itself, or the image of a uint8 array [H, W, 3]."""
    if isinstance(result, Refusal):
        return result
    found = _type(result)
    if isinstance(result, Image):
        if result.mode == "RGB" and result.width and result.height:
            return result
        found = f"an image in mode {result.mode}, {result.size}"
    elif isinstance(result, np.ndarray):
        if result.dtype == np.uint8 and result.ndim == 3 and result.shape[2] == 3 and result.size:
            return fromarray(np.ascontiguousarray(result))
        found = f"an array of {result.dtype} {list(result.shape)}"
    elif hasattr(result, "shape") and hasattr(result, "dtype"):
        found = f"a {found} of {result.dtype} {list(result.shape)}"  # pyright: ignore
    expected = "RGB images, uint8 arrays [H, W, 3] or evalkit.core.Refusal"
    raise _wrong(label, place, found, expected)


def _type(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _wrong(label: str, place: str, found: str, expected: str) -> EvalkitError:
    return EvalkitError(
        f"The model {label!r} returned {found} {place}; expected {expected}.", _CORRECT
    )
