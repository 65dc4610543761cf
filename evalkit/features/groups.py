"""Features that are defined among the images of one prompt, such as their mutual distances.

An encoder with `grouped = True` receives all images of one prompt and returns one row for each. A
row is cached by the SHA-256 of the image and of its group: another image in a group makes new rows
for this group only.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from evalkit.core import Encoder
from evalkit.features import cache as feature_cache
from evalkit.features.cache import CachedFeatures
from evalkit.features.encode import (
    SAVE_SECONDS,
    Features,
    check_widths,
    encode_batch,
    made_on,
    prepare_all,
    rows_of,
)
from evalkit.features.image_file import ImageFile
from evalkit.plugin_calls import DECODING, apart
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
    """Features of all images in their order; labels[i] is the group of images[i].

    The other arguments are those of `encode.image_features`.
    """
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(labels):
        groups.setdefault(name, []).append(place)
    keys = [""] * len(images)
    for places in groups.values():
        whole = "".join(sorted(images[place].sha256 for place in places))
        for place in places:
            keys[place] = hashlib.sha256(f"{images[place].sha256}:{whole}".encode()).hexdigest()
    cached = feature_cache.read(cache, encoder.fingerprint, wanted)
    missing = [
        places
        for places in groups.values()
        if any(keys[place] not in cached.rows for place in places)
    ]
    # Threads decode at most one group ahead, so that few images are in memory.
    largest = max(map(len, missing), default=0)
    stream = prepare_all(
        [images[place] for places in missing for place in places], encoder, 2 * largest
    )
    encoded: list[CachedFeatures] = []
    saved = time.monotonic()
    cache = cache.absolute()  # for an encoder that changes the directory
    bar = progress(label or f"encoding with {encoder.name}", sum(map(len, missing)))
    with apart(encoder, DECODING), bar as advance:
        for places in missing:
            batch = [next(stream) for _ in places]
            rows = {keys[place]: row for row, place in enumerate(places)}
            values = encode_batch(batch, encoder, cached.requested)
            notes = [item.note for item in batch]
            group = CachedFeatures(rows, values, notes, cached.requested, made_on(encoder))
            check_widths(encoder, group, encoded[0] if encoded else cached)
            encoded.append(feature_cache.select(group, list(rows)))  # equal images share a row
            advance(len(places))
            if time.monotonic() - saved > SAVE_SECONDS:
                feature_cache.write(cache, encoder.fingerprint, _merged(cached, encoded))
                saved = time.monotonic()
    cached = feature_cache.select(_merged(cached, encoded), list(dict.fromkeys(keys)))
    if missing:
        feature_cache.write(cache, encoder.fingerprint, cached)
    return rows_of(cached, keys, wanted)


def _merged(cached: CachedFeatures, encoded: Sequence[CachedFeatures]) -> CachedFeatures:
    """All rows. Those of a group that was encoded again replace the cached ones."""
    replaced = {key for part in encoded for key in part.rows}
    kept = [key for key in cached.rows if key not in replaced]
    return feature_cache.concatenate([feature_cache.select(cached, kept), *encoded])
