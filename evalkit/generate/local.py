"""Images from a model on this machine, batch by batch."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence

from PIL.Image import Image

from evalkit.core import Generator, Record, Refusal, Request
from evalkit.generators.calls import images_of
from evalkit.images import encode_png
from evalkit.run_folder import Run
from evalkit.shards import Shard
from evalkit.terminal import progress

log = logging.getLogger(__name__)
_CORRECT = "Correct the model, then run the same command again: finished images are kept."


def fill(
    run: Run,
    label: str,
    generator: Generator,
    requests: Sequence[Request],
    shard: Shard,
    requested: int,
    batch_size: int,
) -> None:
    """Make the images: in each batch first the files, then their rows in the manifest.

    `requested`: the images of the model in the whole run.
    """
    counts, begun = Counter[str](), time.perf_counter()
    ready_made = getattr(generator, "ready_made", False)  # files on the disk: no time to report
    batch_size = max(batch_size, getattr(generator, "at_once", 0))
    batch_size = min(batch_size, getattr(generator, "at_most", batch_size))
    with progress(f"reading {label}" if ready_made else label, len(requests)) as advance:
        for start in range(0, len(requests), batch_size):
            batch = requests[start : start + batch_size]
            started = time.perf_counter()
            smaller = max(1, len(batch) // 2)
            results, memory = images_of(
                generator,
                [request.prompt.text for request in batch],
                [request.seed for request in batch],
                label,
                place=f"on prompts {batch[0].prompt.id} to {batch[-1].prompt.id}",
                hint=_CORRECT,
                memory_hint=f"Try a smaller batch: `--batch-size {smaller}`;"
                " finished images are kept.",
            )
            seconds = (time.perf_counter() - started) / len(batch)
            if ready_made:
                seconds = 0.0
            records = [
                _save(run, label, request, result, requested, seconds=seconds, memory=memory)
                for request, result in zip(batch, results, strict=True)
            ]
            run.append_records(label, records, shard)
            counts.update(record.status for record in records)
            advance(len(batch))
    log.info(
        "%s: %d image%s %s in %.1f s%s, %d refused or failed",
        *(
            label,
            counts["ok"],
            "s" * (counts["ok"] != 1),
            "read" if ready_made else "generated",
            time.perf_counter() - begun,
        ),
        f", {counts['missing']} missing" if counts["missing"] else "",
        counts.total() - counts["ok"] - counts["missing"],
    )


def _save(
    run: Run,
    label: str,
    request: Request,
    result: Image | Refusal,
    requested: int,
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
    return run.save_image(label, record, encode_png(result), requested)
