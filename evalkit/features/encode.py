"""Images and prompts to features. Each is encoded once and cached by its content.

A cache file belongs to one encoder (by fingerprint). It holds the features that metrics request,
for the current set of images only.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evalkit.core import Encoder, EvalkitError, TextEncoder
from evalkit.features import cache as feature_cache
from evalkit.features.cache import CachedFeatures
from evalkit.features.image_file import ImageFile
from evalkit.features.map_ahead import map_ahead
from evalkit.features.validation import raise_invalid
from evalkit.images import Unreadable
from evalkit.models.load import device_name
from evalkit.terminal import plugin_output, progress

_CORRECT = "Correct the encoder, then run the same command again: the images are kept."
SAVE_SECONDS = 60.0  # a kill loses at most about this much work


class Features(NamedTuple):
    values: dict[str, Tensor]  # "pool" and maybe "logits", float32 [N, D]
    notes: list[str]  # per image: the changes that decoding made, "" for none
    made_on: frozenset[str] = frozenset()  # see CachedFeatures


class Prepared(NamedTuple):
    image: ImageFile
    note: str  # the changes that decoding made
    pixels: Tensor  # [3, H, W], as the encoder prepared it


def image_features(
    images: Sequence[ImageFile],
    encoder: Encoder,
    cache: Path,
    *,
    wanted: Collection[str] = ("pool", "logits"),
    batch_size: int = 32,
    label: str = "",
) -> Features:
    """Features of all images in their order. Only images that are not cached are encoded.

    Args:
        images: files whose content must have the given SHA-256.
        encoder: `prepare` runs in threads with the decoding, the network in this thread.
        cache: the .npz file to read and write.
        wanted: names of features; those that the encoder does not have are left out.
        batch_size: images per call of the encoder; one call has images of one prepared size.
        label: the text of the progress bar.
    """
    cached = feature_cache.read(cache, encoder.fingerprint, wanted)
    keys = [image.sha256 for image in images]
    if not keys:
        return Features({}, [])
    first = {image.sha256: image for image in reversed(images)}
    unique = list(dict.fromkeys(keys))
    missing = [first[key] for key in unique if key not in cached.rows]
    requested = cached.requested
    batches: list[CachedFeatures] = []
    saved, pause = time.monotonic(), SAVE_SECONDS
    with progress(label or f"encoding with {encoder.name}", len(missing)) as advance:
        for batch in _batches(missing, encoder, batch_size, len(images)):
            batches.append(_cached(batch, encoder, requested))
            advance(len(batch))
            if time.monotonic() - saved > pause:
                started = time.monotonic()
                cached, batches = feature_cache.concatenate([cached, *batches]), []
                feature_cache.write(cache, encoder.fingerprint, cached)
                saved = time.monotonic()
                pause = max(SAVE_SECONDS, 10 * (saved - started))  # a tenth of the time at most
    cached = feature_cache.select(feature_cache.concatenate([cached, *batches]), unique)
    if missing or not cache.exists():
        feature_cache.write(cache, encoder.fingerprint, cached)
    return rows_of(cached, keys, wanted)


def text_features(texts: Sequence[str], encoder: TextEncoder, cache: Path) -> Tensor:
    """Features of all prompts in their order, float32 [N, D]; equal prompts are encoded once."""
    cached = feature_cache.read(cache, encoder.fingerprint, ("pool",))
    keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
    by_key = dict(zip(keys, texts, strict=True))
    missing = [key for key in by_key if key not in cached.rows]
    if missing:
        with _named(encoder), plugin_output():
            values = {"pool": _array(encoder.text([by_key[key] for key in missing]))}
        _check(encoder, values, len(missing), "prompts")
        rows = {key: row for row, key in enumerate(missing)}
        fresh = CachedFeatures(rows, values, [""] * len(missing), cached.requested)
        cached = feature_cache.select(feature_cache.concatenate([cached, fresh]), list(by_key))
        feature_cache.write(cache, encoder.fingerprint, cached)
    return torch.from_numpy(cached.values["pool"][[cached.rows[key] for key in keys]])


def rows_of(cached: CachedFeatures, keys: Sequence[str], wanted: Collection[str]) -> Features:
    """The cached features of these keys, which may repeat."""
    rows = [cached.rows[key] for key in keys]
    values = {
        name: torch.from_numpy(array[rows])
        for name, array in cached.values.items()
        if name in wanted
    }
    return Features(values, [cached.notes[row] for row in rows], cached.made_on)


def made_on(encoder: Encoder) -> frozenset[str]:
    """The device and the number format of an encoder, from its attributes; {""} if not stated."""
    device, dtype = getattr(encoder, "device", None), getattr(encoder, "dtype", "float32")
    return frozenset({"" if device is None else f"{device_name(str(device))} {dtype}"})


def prepare_all(
    images: Sequence[ImageFile], encoder: Encoder, ahead: int, total: int = 0
) -> Iterator[Prepared]:
    """All images in order, decoded and prepared by threads. Raises EvalkitError on invalid ones.

    ahead: images that the threads may be ahead. total: size of the set, for the error message.
    """

    def read(image: ImageFile) -> tuple[str, Tensor] | None:
        found = image.decode()
        if isinstance(found, Unreadable):
            return None
        with _named(encoder):
            pixels: object = encoder.prepare(found.image)
        if not isinstance(pixels, Tensor):
            raise _wrong(encoder, f"a {type(pixels).__name__} from prepare", "a tensor [3, H, W]")
        return found.note, pixels

    for image, found in map_ahead(read, images, ahead):
        if found is None:
            raise_invalid(images, total)
        yield Prepared(image, *found)


def encode_batch(
    batch: Sequence[Prepared], encoder: Encoder, requested: Collection[str]
) -> dict[str, NDArray[np.float32]]:
    """The requested features of images of one prepared size, each float32 [N, D]."""
    with _named(encoder), plugin_output():
        values: object = encoder(torch.stack([item.pixels for item in batch]))
        if not isinstance(values, Mapping):
            raise _wrong(encoder, f"a {type(values).__name__}", "a dict of features by name")
        arrays = {name: _array(value) for name, value in values.items() if name in requested}
    _check(encoder, arrays, len(batch), "images")
    return arrays


def _array(value: Tensor) -> NDArray[np.float32]:
    return torch.as_tensor(value).detach().cpu().numpy().astype(np.float32)


def _check(
    encoder: Encoder, arrays: Mapping[str, NDArray[np.float32]], count: int, what: str
) -> None:
    """Raise EvalkitError unless every array is finite and has the shape [count, D]."""
    for name, array in arrays.items():
        found = f"{name!r} features of shape {list(array.shape)}"
        if array.ndim == 2 and len(array) == count and array.shape[1]:
            if np.isfinite(array).all():
                continue
            found = f"{name!r} features that are not finite"
        expected = f"finite numbers of shape [{count}, D]"
        raise _wrong(encoder, f"{found} for {count} {what}", expected)


def _wrong(encoder: Encoder, found: str, expected: str) -> EvalkitError:
    return EvalkitError(
        f"The encoder {encoder.name!r} returned {found}; expected {expected}.", _CORRECT
    )


@contextlib.contextmanager
def _named(encoder: Encoder) -> Iterator[None]:
    """An exception in the code of an encoder becomes one sentence that names it."""
    try:
        yield
    except EvalkitError:
        raise
    except Exception as error:  # an encoder is a plug-in: it may raise anything
        hint = _CORRECT
        if "out of memory" in str(error).lower():
            hint = "Try a smaller `--batch-size`; the images are kept."
        raise EvalkitError(
            f"The encoder {encoder.name!r} failed: {type(error).__name__}: {error}.", hint
        ) from error


def _batches(
    images: Sequence[ImageFile], encoder: Encoder, batch_size: int, total: int
) -> Iterator[list[Prepared]]:
    """Batches of one prepared size each, in the order in which they are full."""
    waiting: dict[tuple[int, ...], list[Prepared]] = {}
    for item in prepare_all(images, encoder, 2 * batch_size, total):
        shape = tuple(item.pixels.shape)
        waiting.setdefault(shape, []).append(item)
        if len(waiting[shape]) == batch_size:
            yield waiting.pop(shape)
    yield from waiting.values()


def _cached(
    batch: Sequence[Prepared], encoder: Encoder, requested: frozenset[str]
) -> CachedFeatures:
    return CachedFeatures(
        {item.image.sha256: row for row, item in enumerate(batch)},
        encode_batch(batch, encoder, requested),
        [item.note for item in batch],
        requested,
        made_on(encoder),
    )
