"""Images and prompts to features. Each is encoded once and cached by its content.

A cache file belongs to one encoder (by fingerprint). It holds the features that metrics request,
for the current set of images only.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from evalkit.core import Encoder, TextEncoder
from evalkit.features import cache as feature_cache
from evalkit.features import parts
from evalkit.features.batches import InvalidFound, Item, batches, prepared
from evalkit.features.cache import CachedFeatures
from evalkit.features.calls import encode_text
from evalkit.features.growing import GrowingCache, check_widths, fill
from evalkit.features.image_file import ImageFile
from evalkit.features.validation import raise_invalid
from evalkit.plugin_calls import is_own
from evalkit.shards import WHOLE, Shard
from evalkit.terminal import progress


class Features(NamedTuple):
    values: dict[str, Tensor]  # "pool" and maybe "logits", float32 [N, D]
    notes: list[str]  # per image: the changes that decoding made, "" for none
    made_on: frozenset[str] = frozenset()  # see CachedFeatures


class Encoding(NamedTuple):
    """One encoder of a pass over images."""

    encoder: Encoder
    cache: Path  # the .npz file to read and write
    wanted: Collection[str] = (
        "pool",
        "logits",
    )  # those that the encoder does not have are left out
    batch_size: int = 32  # images per call; one call has images of one prepared size
    label: str = ""  # in the progress bar; by default the name of the encoder
    shard: Shard = WHOLE  # whose file of the cache is written; see features/parts.py


def image_features(
    images: Sequence[ImageFile],
    encoder: Encoder,
    cache: Path,
    *,
    wanted: Collection[str] = ("pool", "logits"),
    batch_size: int = 32,
    label: str = "",
) -> Features:
    """`encode_images` with one encoder; `label` is the text of the progress bar."""
    label = label or f"encoding with {encoder.name}"
    [found] = encode_images(images, [Encoding(encoder, cache, wanted, batch_size, label)])
    return found


def encode_images(
    images: Sequence[ImageFile], encodings: Sequence[Encoding], label: str = ""
) -> list[Features]:
    """For each encoder, features of all images in their order.

    An image is decoded once for all encoders of evalkit that have no features of it in their cache.
    A plug-in has a pass of its own: it may change images in place, and its settings of the process
    are to be those of no other encoder. Where an encoder fails, what the others have made is
    written before the error is raised.

    Args:
        images: files whose content must have the given SHA-256.
        encodings: `prepare` runs in threads with the decoding, the networks in this thread.
        label: the beginning of the text of the progress bar.
    """
    if not images:
        return [Features({}, []) for _ in encodings]
    keys = [image.sha256 for image in images]
    made = _passes(images, encodings, label)
    return [
        rows_of(rows, keys, one.wanted, one.cache.parent)
        for rows, one in zip(made, encodings, strict=True)
    ]


def encode_shard(
    images: Sequence[ImageFile], encodings: Sequence[Encoding], label: str = ""
) -> None:
    """`encode_images` for a shard: what no process has encoded yet is added to its own files."""
    if images:
        _passes(images, encodings, label)


def growing(one: Encoding, keys: Sequence[str]) -> GrowingCache:
    """The cache of an encoder for these keys, with what other processes have made.

    A shard needs to know only which rows there are, the whole run has them all.
    """
    others, wanted = parts.beside(one.cache, one.shard), one.wanted
    print_of = one.encoder.fingerprint
    made = feature_cache.EMPTY
    if one.shard.is_whole:
        made = feature_cache.read_all(others, print_of, wanted, keys)
    else:
        known = frozenset[str]().union(
            *(feature_cache.keys(path, print_of, wanted) for path in others)
        )
        keys = [key for key in keys if key not in known]
    file = parts.own(one.cache, one.shard)
    return GrowingCache(one.encoder, file, keys, wanted, one.batch_size, made)


def _passes(
    images: Sequence[ImageFile], encodings: Sequence[Encoding], label: str
) -> list[CachedFeatures]:
    """The rows of each encoder: one pass for all of evalkit's own, one for each plug-in."""
    keys = [image.sha256 for image in images]
    asked = {growing(one, keys): one for one in encodings}
    own = [cache for cache in asked if is_own(cache.encoder)]
    found: dict[GrowingCache, CachedFeatures] = {}
    for several in (*([cache] for cache in asked if cache not in own), own):
        names = [asked[cache].label or cache.encoder.name for cache in several if cache.missing]
        made = _encode(images, several, label + ", ".join(names))
        found |= dict(zip(several, made, strict=True))
    return [found[cache] for cache in asked]


def _encode(
    images: Sequence[ImageFile], caches: Sequence[GrowingCache], label: str
) -> list[CachedFeatures]:
    """One pass over the images that are missing in any of the caches."""
    needed: dict[str, list[GrowingCache]] = {}
    for cache in caches:
        for key in cache.missing:
            needed.setdefault(key, []).append(cache)
    first = {image.sha256: image for image in reversed(images)}
    missing = [first[key] for key in dict.fromkeys(one.sha256 for one in images) if key in needed]
    left = Counter({key: len(some) for key, some in needed.items()})

    def done(items: Sequence[Item]) -> int:
        """The number of these images that no encoder needs any more."""
        left.subtract(item.key for item in items)
        return sum(not left[item.key] for item in items)

    ahead = 2 * max((cache.batch_size for cache in caches), default=0)
    try:
        stream = batches(prepared(missing, lambda image: needed[image.sha256], ahead))
        return fill(caches, stream, progress(label, len(missing)), done)
    except InvalidFound:
        raise_invalid(missing, len(images))


def text_features(
    texts: Sequence[str], encoder: TextEncoder, cache: Path, shard: Shard = WHOLE
) -> Tensor:
    """Features of all prompts in their order, float32 [N, D]; equal prompts are encoded once."""
    file, wanted = parts.own(cache, shard), ("pool",)
    cached = feature_cache.read(file, encoder.fingerprint, wanted)
    beside = parts.beside(cache, shard)
    others = feature_cache.read_all(beside, encoder.fingerprint, wanted)
    keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
    by_key = dict(zip(keys, texts, strict=True))
    known = cached.rows.keys() | others.rows.keys()
    missing = [key for key in by_key if key not in known]
    if missing:
        values = encode_text(encoder, [by_key[key] for key in missing])
        rows = {key: row for row, key in enumerate(missing)}
        fresh = CachedFeatures(rows, values, [""] * len(missing), cached.requested)
        check_widths(encoder, fresh, cached if cached.rows else others)
        own = [key for key in by_key if key in cached.rows or key in rows]
        cached = feature_cache.joined([cached, fresh], own, file.parent)
        feature_cache.write(file, encoder.fingerprint, cached)
    whole = feature_cache.joined([others, cached], by_key, cache.parent)
    return rows_of(whole, keys, wanted, cache.parent).values["pool"]


def rows_of(
    cached: CachedFeatures, keys: Sequence[str], wanted: Collection[str], folder: Path
) -> Features:
    """The cached features of these keys, which may repeat; without a copy if these are all."""
    found = feature_cache.select(cached, keys, folder)
    values = {
        name: torch.from_numpy(array) for name, array in found.values.items() if name in wanted
    }
    return Features(values, found.notes, found.made_on)
