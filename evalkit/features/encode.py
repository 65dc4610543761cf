"""Pictures and prompts to features, each encoded once: the cache knows them by content and by the
encoder's fingerprint.

Only the features that the metrics ask for are kept. What the current set of pictures does not use
is dropped from the cache.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from evalkit.core import Encoder, EvalkitError, TextEncoder
from evalkit.features import cache as feature_cache
from evalkit.features.cache import Cache
from evalkit.features.validation import ImageFile, look, refuse
from evalkit.images import Unreadable
from evalkit.terminal import progress

SAVE_SECONDS = 60.0  # a kill loses about this much work


class Features(NamedTuple):
    values: dict[str, Tensor]  # "pool" and maybe "logits", float32 [N, D]
    notes: list[str]  # per picture: what had to be done to read it, "" for nothing


def image_features(
    images: Sequence[ImageFile],
    encoder: Encoder,
    cache: Path,
    *,
    wanted: Collection[str] = ("pool", "logits"),
    batch_size: int = 32,
    label: str = "",
) -> Features:
    """Features of all pictures in their order; only those that are new to the cache are decoded and
    encoded.

    Args:
        images: the files with their SHA-256; a file that has another one by now is an error.
        encoder: decoding and `prepare` run in threads, the network in this one.
        cache: the .npz file, read and written.
        wanted: names of features; what the encoder does not give is left out.
        batch_size: pictures per call of the encoder; pictures of different prepared sizes are never
            in one call.
        label: what the progress bar says.
    """
    known = feature_cache.read(cache, encoder.fingerprint, wanted)
    asked, keys = known.asked, list(dict.fromkeys(image.sha256 for image in images))
    if not keys:
        return Features({}, [])
    first = {image.sha256: image for image in reversed(images)}
    missing = [first[key] for key in keys if key not in known.rows]
    saved, pause = time.monotonic(), SAVE_SECONDS
    pending: list[Cache] = []
    with progress(label or f"encoding with {encoder.name}", len(missing)) as advance:
        for batch in _encode(missing, encoder, batch_size, asked, len(images)):
            pending.append(batch)
            advance(len(batch.rows))
            if time.monotonic() - saved > pause:
                known, pending, started = (
                    feature_cache.joined([known, *pending]),
                    [],
                    time.monotonic(),
                )
                feature_cache.write(cache, encoder.fingerprint, known)
                saved = time.monotonic()
                pause = max(SAVE_SECONDS, 10 * (saved - started))
    known = feature_cache.chosen(feature_cache.joined([known, *pending]), keys)
    if missing or not cache.exists():
        feature_cache.write(cache, encoder.fingerprint, known)
    rows = [known.rows[image.sha256] for image in images]
    values = {
        name: torch.from_numpy(array[rows])
        for name, array in known.values.items()
        if name in wanted
    }
    return Features(values, [known.notes[row] for row in rows])


def text_features(texts: Sequence[str], encoder: TextEncoder, cache: Path) -> Tensor:
    """Features of all prompts in their order, float32 [N, D]; each different prompt is read once
    and cached.
    """
    known = feature_cache.read(cache, encoder.fingerprint, ("pool",))
    keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
    by_key = dict(zip(keys, texts, strict=True))
    missing = [key for key in by_key if key not in known.rows]
    if missing:
        values = {"pool": encoder.text([by_key[key] for key in missing]).numpy().astype(np.float32)}
        fresh = Cache(
            {key: row for row, key in enumerate(missing)}, values, [""] * len(missing), known.asked
        )
        known = feature_cache.chosen(feature_cache.joined([known, fresh]), list(by_key))
        feature_cache.write(cache, encoder.fingerprint, known)
    return torch.from_numpy(known.values["pool"][[known.rows[key] for key in keys]])


def prepared(
    images: Sequence[ImageFile], encoder: Encoder, ahead: int, total: int = 0
) -> Iterator[tuple[ImageFile, str, Tensor]]:
    """(file, note, uint8 [3, H, W]) in order, decoded by threads that run at most `ahead` pictures
    ahead.

    total: of how many pictures these are those whose features are missing, for the sentence on bad
    ones.
    """

    def read(image: ImageFile) -> tuple[str, Tensor] | None:
        found = look(image)
        return None if isinstance(found, Unreadable) else (found.note, encoder.prepare(found.image))

    queue: deque[tuple[ImageFile, Future[tuple[str, Tensor] | None]]] = deque()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for image in images:
            queue.append((image, pool.submit(read, image)))
            if len(queue) >= ahead:
                yield _ready(*queue.popleft(), images, total)
        while queue:
            yield _ready(*queue.popleft(), images, total)


def _ready(
    image: ImageFile,
    future: Future[tuple[str, Tensor] | None],
    images: Sequence[ImageFile],
    total: int,
) -> tuple[ImageFile, str, Tensor]:
    found = future.result()
    if found is None:
        refuse(images, total)  # names all that cannot be taken, not the first one only
    return image, *found


def _encode(
    images: Sequence[ImageFile],
    encoder: Encoder,
    batch_size: int,
    asked: frozenset[str],
    total: int,
) -> Iterator[Cache]:
    """Batches of one prepared size each, in the order in which they fill up."""
    waiting: dict[tuple[int, ...], list[tuple[ImageFile, str, Tensor]]] = {}
    for item in prepared(images, encoder, 2 * batch_size, total):
        group = waiting.setdefault(tuple(item[2].shape), [])
        group.append(item)
        if len(group) == batch_size:
            yield _encoded(waiting.pop(tuple(item[2].shape)), encoder, asked)
    for group in waiting.values():
        yield _encoded(group, encoder, asked)


def _encoded(
    group: list[tuple[ImageFile, str, Tensor]], encoder: Encoder, asked: frozenset[str]
) -> Cache:
    values = encoder(torch.stack([pixels for _, _, pixels in group]))
    arrays = {
        name: value.cpu().numpy().astype(np.float32)
        for name, value in values.items()
        if name in asked
    }
    if any(array.ndim != 2 or len(array) != len(group) for array in arrays.values()):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise EvalkitError(
            f"The encoder {encoder.name} returned {shapes} for {len(group)} images; expected [{len(group)}, D]."
        )
    return Cache(
        {image.sha256: row for row, (image, _, _) in enumerate(group)},
        arrays,
        [note for _, note, _ in group],
        asked,
    )
