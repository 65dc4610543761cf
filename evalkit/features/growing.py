"""The cache file of one encoder while images are encoded: what it has, and what is new."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from pathlib import Path

from PIL.Image import Image
from torch import Tensor

from evalkit.core import Encoder, EvalkitError
from evalkit.encoders.batches import in_parts
from evalkit.features import cache as feature_cache
from evalkit.features.batches import Batch, Item
from evalkit.features.cache import CachedFeatures
from evalkit.features.calls import Arrays, launch, made_on, prepare, stacked
from evalkit.features.map_ahead import one_ahead
from evalkit.plugin_calls import DECODING, apart
from evalkit.terminal import Advance

SAVE_SECONDS = 60.0  # a kill loses at most about this much work


class GrowingCache:
    """The features of one encoder, batch by batch. The file is written once a minute.

    Args:
        path: the .npz file to read and write.
        keys: of the rows that are wanted; they may repeat.
        wanted: names of features; those that the encoder does not have are left out.
        batch_size: images per call of the encoder, unless the caller makes other batches.
        others: rows that other processes have made; none of them is written.
    """

    def __init__(
        self,
        encoder: Encoder,
        path: Path,
        keys: Sequence[str],
        wanted: Collection[str],
        batch_size: int = 32,
        others: CachedFeatures = feature_cache.EMPTY,
    ) -> None:
        self.encoder, self.batch_size = encoder, batch_size
        self.failed = False  # the encoder, or its features
        self._call = in_parts(encoder)
        self._path = path.absolute()  # for an encoder that changes the directory
        self._cached = feature_cache.read(path, encoder.fingerprint, wanted)
        self._others = others
        self._keys = list(dict.fromkeys(keys))
        known = self._cached.rows.keys() | others.rows.keys()
        self.missing = [key for key in self._keys if key not in known]
        self._new: list[CachedFeatures] = []
        self._launched: tuple[Sequence[Item], Callable[[], Arrays]] | None = None
        self._saved, self._pause = time.monotonic(), SAVE_SECONDS

    def prepare(self, image: Image) -> Tensor:
        """See `calls.prepare`. Runs in any thread."""
        with self._watched():
            return prepare(image, self.encoder)

    def stacked(self, pixels: Sequence[Tensor]) -> Tensor:
        """See `calls.stacked`. Runs in any thread."""
        with self._watched():
            return stacked(pixels, self.encoder)

    def encode(self, items: Sequence[Item], batch: Tensor) -> Sequence[Item]:
        """Launch a batch, and keep the features of the one before; returns the items of that one.

        A group of equal images has equal items, of which one is kept.
        """
        with self._watched():
            finish = launch(batch, self.encoder, self._cached.requested, self._call)
        before = self.collect()
        self._launched = items, finish
        return before

    def collect(self) -> Sequence[Item]:
        """Keep the features of the last batch; returns its items."""
        if self._launched is None:
            return ()
        (items, finish), self._launched = self._launched, None
        with self._watched():
            values, requested = finish(), self._cached.requested
            rows = {item.key: row for row, item in enumerate(items)}
            notes = [item.note for item in items]
            fresh = CachedFeatures(rows, values, notes, requested, made_on(self.encoder))
            own = next((one for one in (*self._new, self._cached) if one.rows), None)
            check_widths(self.encoder, fresh, own or self._others)
            if own is not None and own.values.keys() != values.keys():
                raise feature_cache.other_features()
        equal = len(rows) < len(items)
        folder = self._path.parent
        self._new.append(feature_cache.select(fresh, list(rows), folder) if equal else fresh)
        if time.monotonic() - self._saved > self._pause:
            self.save()
        return items

    def save(self) -> None:
        """Write all rows, also those of images that are not in the set any more."""
        self.collect()
        started = time.monotonic()
        if self._new:
            self._write(self._joined())
        self._saved = time.monotonic()
        self._pause = max(SAVE_SECONDS, 10 * (self._saved - started))  # a tenth of the time at most

    def complete(self) -> CachedFeatures:
        """All wanted rows, which are those of the file from now on."""
        self.collect()
        shared, folder = bool(self._others.rows), self._path.parent
        with self._watched():
            if not shared:
                own = whole = feature_cache.select(self._joined(), self._keys, folder)
            else:
                own = self._joined()
                whole = feature_cache.joined([self._others, own], self._keys, folder)
                self._others = feature_cache.EMPTY  # they may be large, and are in `whole`
                own = feature_cache.select(
                    own, [key for key in self._keys if key in own.rows], folder
                )
        if self.missing or not (self._path.exists() or shared):
            self._write(own)
        return whole

    def _joined(self) -> CachedFeatures:
        """The rows of the file and the new ones."""
        parts = self._cached, *self._new
        keys = [key for part in parts for key in part.rows]
        return feature_cache.joined(parts, keys, self._path.parent)

    def _write(self, cached: CachedFeatures) -> None:
        self._cached, self._new = cached, []
        feature_cache.write(self._path, self.encoder.fingerprint, cached)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.failed = True
            raise


def fill(
    caches: Sequence[GrowingCache],
    batches: Generator[Batch[GrowingCache, Item], None, None],
    bar: contextlib.AbstractContextManager[Advance],
    done: Callable[[Sequence[Item]], int] = len,
) -> list[CachedFeatures]:
    """Encode all batches of encoders that share the settings of the process; returns all rows.

    Where one fails, what the others have made is written before its error is raised.

    done: of images that an encoder has encoded, how many the progress bar is to count.
    """
    if not caches:
        return []
    try:
        with (
            apart(caches[0].encoder, DECODING),
            bar as advance,
            contextlib.closing(one_ahead(batches)) as ahead,
        ):
            for cache, items, pixels in ahead:
                advance(done(cache.encode(items, pixels)))
            for cache in caches:
                advance(done(cache.collect()))
        return [cache.complete() for cache in caches]
    except EvalkitError:
        for cache in caches:
            if not cache.failed:
                with contextlib.suppress(EvalkitError):
                    cache.save()
        raise


def check_widths(encoder: Encoder, fresh: CachedFeatures, known: CachedFeatures) -> None:
    """Raises EvalkitError unless features of one name have one width in both."""
    for name in fresh.values.keys() & known.values.keys() if known.rows else ():
        widths = known.values[name].shape[1], fresh.values[name].shape[1]
        if widths[0] != widths[1]:
            raise EvalkitError(
                f"The encoder {encoder.name!r} returned {name!r} features of {widths[1]} dimensions"
                f" and earlier ones of {widths[0]}; expected the same for all images.",
                "Correct the encoder, and change its fingerprint if its features have changed.",
                code="features-5",
            )
