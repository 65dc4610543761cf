"""Features that exist only among the pictures of one prompt, such as their distances from each
other.

An encoder with `grouped = True` is called with all pictures of one prompt and gives one row for
each. A row is cached under the SHA-256 of the picture and of the whole group: one more picture in a
group makes the group anew, and no other.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from evalkit.core import Encoder, EvalkitError
from evalkit.features import cache as feature_cache
from evalkit.features.cache import Cache
from evalkit.features.encode import SAVE_SECONDS, Features, ImageFile, prepared
from evalkit.terminal import progress


def group_features(
    images: Sequence[ImageFile],
    labels: Sequence[str],
    encoder: Encoder,
    cache: Path,
    *,
    wanted: Sequence[str],
    label: str = "",
) -> Features:
    """Features of all pictures in their order; labels[i] names the group of images[i]. See
    `features.image_features`.
    """
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(labels):
        groups.setdefault(name, []).append(place)
    keys = [""] * len(images)
    for places in groups.values():
        whole = "".join(sorted(images[place].sha256 for place in places))
        for place in places:
            keys[place] = hashlib.sha256(f"{images[place].sha256}:{whole}".encode()).hexdigest()
    known = feature_cache.read(cache, encoder.fingerprint, wanted)
    asked = known.asked
    missing = [
        places
        for places in groups.values()
        if any(keys[place] not in known.rows for place in places)
    ]
    made: list[Cache] = []
    saved = time.monotonic()
    with progress(label or f"encoding with {encoder.name}", sum(map(len, missing))) as advance:
        for places, notes, values in _encode(images, missing, encoder):
            rows = {keys[place]: row for row, place in enumerate(places)}
            made.append(
                Cache(
                    rows,
                    {name: array for name, array in values.items() if name in asked},
                    notes,
                    asked,
                )
            )
            made[-1] = feature_cache.chosen(
                made[-1], list(rows)
            )  # two equal pictures of a group have one row
            advance(len(places))
            if time.monotonic() - saved > SAVE_SECONDS:
                feature_cache.write(
                    cache, encoder.fingerprint, feature_cache.joined([_without(known, made), *made])
                )
                saved = time.monotonic()
    known = feature_cache.chosen(
        feature_cache.joined([_without(known, made), *made]), list(dict.fromkeys(keys))
    )
    if missing:
        feature_cache.write(cache, encoder.fingerprint, known)
    order = [known.rows[key] for key in keys]
    values = {
        name: torch.from_numpy(array[order])
        for name, array in known.values.items()
        if name in wanted
    }
    return Features(values, [known.notes[row] for row in order])


def _without(known: Cache, made: Sequence[Cache]) -> Cache:
    """What was known before and was not made again (the other pictures of a group that lacked one)."""
    again = {key for part in made for key in part.rows}
    kept = [key for key in known.rows if key not in again]
    return feature_cache.chosen(known, kept) if len(kept) < len(known.rows) else known


def _encode(
    images: Sequence[ImageFile], groups: Sequence[list[int]], encoder: Encoder
) -> Iterator[tuple[list[int], list[str], dict[str, np.ndarray]]]:
    """Group by group, so that no more pictures are in memory than one group has and the readers are
    ahead.
    """
    largest = max(map(len, groups), default=0)
    stream = prepared(
        [images[place] for places in groups for place in places], encoder, 2 * largest
    )
    for places in groups:
        items = [next(stream) for _ in places]
        values = {
            name: value.cpu().numpy().astype(np.float32)
            for name, value in encoder(torch.stack([item[2] for item in items])).items()
        }
        if any(array.ndim != 2 or len(array) != len(places) for array in values.values()):
            shapes = ", ".join(f"{name} {array.shape}" for name, array in values.items())
            raise EvalkitError(
                f"The encoder {encoder.name} returned {shapes} for {len(places)} images; expected [{len(places)}, D]."
            )
        yield places, [item[1] for item in items], values
