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
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from evalkit.core import Encoder, EvalkitError, TextEncoder
from evalkit.features import cache as feature_cache
from evalkit.features.cache import CachedFeatures
from evalkit.features.image_file import ImageFile
from evalkit.features.map_ahead import map_ahead
from evalkit.features.validation import raise_invalid
from evalkit.images import Unreadable
from evalkit.models.load import device_name
from evalkit.plugin_calls import DECODING, apart, named, unchanged
from evalkit.terminal import progress

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
    cache = cache.absolute()  # for an encoder that changes the directory
    bar = progress(label or f"encoding with {encoder.name}", len(missing))
    with apart(encoder, DECODING), bar as advance:
        for batch in _batches(missing, encoder, batch_size, len(images)):
            fresh = _cached(batch, encoder, requested)
            check_widths(encoder, fresh, batches[0] if batches else cached)
            batches.append(fresh)
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
        with _named(encoder), apart(encoder):
            found = {"pool": _array(encoder.text([by_key[key] for key in missing]))}
        values = _checked(encoder, found, len(missing), "prompts")
        rows = {key: row for row, key in enumerate(missing)}
        fresh = CachedFeatures(rows, values, [""] * len(missing), cached.requested)
        check_widths(encoder, fresh, cached)
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


def made_on(encoder: object) -> frozenset[str]:
    """The device and the number format of an encoder or a scorer, {""} where it states none."""
    device, dtype = getattr(encoder, "device", None), getattr(encoder, "dtype", "float32")
    return frozenset({"" if device is None else f"{device_name(str(device))} {dtype}"})


def prepare_all(
    images: Sequence[ImageFile], encoder: Encoder, ahead: int, total: int = 0
) -> Iterator[Prepared]:
    """All images in order, decoded and prepared by threads. Raises EvalkitError on invalid ones.

    The caller keeps the settings of the encoder `apart`: they are those of all threads.

    ahead: images that the threads may be ahead. total: size of the set, for the error message.
    """

    def read(image: ImageFile) -> tuple[str, Tensor] | None:
        found = image.decode()
        if isinstance(found, Unreadable):
            return None
        return found.note, prepare(found.image, encoder)

    for image, found in map_ahead(read, images, ahead):
        if found is None:
            raise_invalid(images, total)
        yield Prepared(image, *found)


def prepare(image: Image, encoder: Encoder) -> Tensor:
    """The image as the encoder prepares it, which may change the image. Runs in any thread."""
    with _named(encoder), unchanged(DECODING):
        pixels: object = encoder.prepare(image)
    if not isinstance(pixels, Tensor) or not pixels.numel():
        found = "an empty tensor" if isinstance(pixels, Tensor) else f"a {type(pixels).__name__}"
        raise _wrong(encoder, f"{found} from prepare", "a tensor [3, H, W]")
    return pixels


def encode_batch(
    batch: Sequence[Prepared], encoder: Encoder, requested: Collection[str]
) -> dict[str, NDArray[np.float32]]:
    """The requested features of images of one prepared size, each float32 [N, D]."""
    return encode_pixels([item.pixels for item in batch], encoder, requested)


def encode_pixels(
    pixels: Sequence[Tensor], encoder: Encoder, requested: Collection[str]
) -> dict[str, NDArray[np.float32]]:
    """`encode_batch` of images as the encoder prepared them."""
    if len({item.data_ptr() for item in pixels}) < len(pixels):
        raise _wrong(encoder, "one tensor for several images from prepare", "a new one for each")
    with _named(encoder), unchanged(DECODING):
        values: object = encoder(torch.stack(list(pixels)))
        found = None
        if isinstance(values, Mapping):
            found = {name: _array(value) for name, value in values.items() if name in requested}
    if found is None:
        raise _wrong(encoder, f"a {type(values).__name__}", "a dict of features by name")
    return _checked(encoder, found, len(pixels), "images")


def check_widths(encoder: Encoder, fresh: CachedFeatures, known: CachedFeatures) -> None:
    """Raises EvalkitError unless features of one name have one width in both."""
    for name in fresh.values.keys() & known.values.keys() if known.rows else ():
        widths = known.values[name].shape[1], fresh.values[name].shape[1]
        if widths[0] != widths[1]:
            raise EvalkitError(
                f"The encoder {encoder.name!r} returned {name!r} features of {widths[1]} dimensions"
                f" and earlier ones of {widths[0]}; expected the same for all images.",
                "Correct the encoder, and change its fingerprint if its features are others now.",
            )


def _array(value: object) -> NDArray[np.float32] | str:
    """The features as a new array, or in words what they are instead."""
    if not isinstance(value, Tensor | np.ndarray):
        return f"of the type {type(value).__name__}"
    found = torch.as_tensor(value)
    if not found.is_floating_point():
        return f"of the type {found.dtype}"
    return found.detach().to("cpu", torch.float32, copy=True).numpy()


def _checked(
    encoder: Encoder, found: Mapping[str, NDArray[np.float32] | str], count: int, what: str
) -> dict[str, NDArray[np.float32]]:
    """The arrays. Raises EvalkitError unless each is finite and has the shape [count, D]."""
    arrays: dict[str, NDArray[np.float32]] = {}
    for name, array in found.items():
        wrong = array if isinstance(array, str) else f"of shape {list(array.shape)}"
        if not isinstance(array, str) and array.ndim == 2 and len(array) == count and array.size:
            if np.isfinite(array).all():
                arrays[name] = array
                continue
            wrong = "that are not finite"
        expected = f"finite float32 numbers of shape [{count}, D]"
        raise _wrong(encoder, f"{name!r} features {wrong} for {count} {what}", expected)
    return arrays


def _wrong(encoder: Encoder, found: str, expected: str) -> EvalkitError:
    return EvalkitError(
        f"The encoder {encoder.name!r} returned {found}; expected {expected}.", _CORRECT
    )


def _named(encoder: Encoder) -> contextlib.AbstractContextManager[None]:
    """An exception in the code of an encoder becomes one sentence that names it."""
    memory_hint = "Try a smaller `--batch-size`; the images are kept."
    return named(encoder, f"The encoder {encoder.name!r} failed", _CORRECT, memory_hint)


def _batches(
    images: Sequence[ImageFile], encoder: Encoder, batch_size: int, total: int
) -> Iterator[list[Prepared]]:
    """Batches of one prepared size and dtype each, in the order in which they are full."""
    waiting: dict[tuple[Any, ...], list[Prepared]] = {}
    for item in prepare_all(images, encoder, 2 * batch_size, total):
        shape = (*item.pixels.shape, item.pixels.dtype)
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
