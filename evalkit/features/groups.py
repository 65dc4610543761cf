"""Features that are defined among the images of one prompt, such as their mutual distances.

An encoder with `grouped = True` receives all images of one prompt and returns one row for each. A
row is cached by the SHA-256 of the image and of its group: another image in a group makes new rows
for this group only.

Such an encoder has a pass of its own, and does not share that of the others: the images of a group,
which may be equal to those of other groups, can be anywhere in the set, and prepared images would
wait for them without limit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Generator, Sequence
from pathlib import Path

from evalkit.core import Encoder
from evalkit.features.batches import Batch, InvalidFound, Item, prepared
from evalkit.features.encode import Encoding, Features, growing, rows_of
from evalkit.features.growing import GrowingCache, fill
from evalkit.features.image_file import ImageFile
from evalkit.features.validation import raise_invalid
from evalkit.shards import WHOLE, Shard
from evalkit.terminal import progress


def group_features(
    images: Sequence[ImageFile],
    labels: Sequence[str],
    encoder: Encoder,
    cache: Path,
    *,
    wanted: Collection[str],
    label: str = "",
    shard: Shard = WHOLE,
) -> Features:
    """Features of all images in their order; labels[i] is the group of images[i].

    The other arguments are those of `encode.image_features`. For a shard, which has whole groups,
    the features are those of this process only.
    """
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(labels):
        groups.setdefault(name, []).append(place)
    keys = [""] * len(images)
    for places in groups.values():
        whole = "".join(sorted(images[place].sha256 for place in places))
        for place in places:
            keys[place] = hashlib.sha256(f"{images[place].sha256}:{whole}".encode()).hexdigest()
    grown = growing(Encoding(encoder, cache, wanted, shard=shard), keys)
    absent = set(grown.missing)
    missing = {  # by their keys, of which groups of equal images have the same
        frozenset(keys[place] for place in places): places
        for places in groups.values()
        if keys[places[0]] in absent
    }
    order = [place for places in missing.values() for place in places]
    # Threads decode at most one group ahead, so that few images are in memory.
    largest = max(map(len, missing.values()), default=0)

    def batches() -> Generator[Batch[GrowingCache, Item], None, None]:
        stream = prepared([images[place] for place in order], lambda _: [grown], 2 * largest)
        for places in missing.values():
            found = [next(stream) for _ in places]
            items = [
                Item(keys[place], item.note) for place, (item, _) in zip(places, found, strict=True)
            ]
            yield Batch(grown, items, grown.stacked([pixels for _, [(_, pixels)] in found]))

    bar = progress(label or f"encoding with {encoder.name}", len(order))
    try:
        [whole] = fill([grown], batches(), bar)
    except InvalidFound:
        raise_invalid([images[place] for place in order])
    return rows_of(whole, [key for key in keys if key in whole.rows], wanted, cache.parent)
