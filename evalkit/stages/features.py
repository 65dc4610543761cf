"""Pictures and prompts to features, each encoded once: the cache knows them by content and by the encoder's fingerprint.

A cache file is an .npz without pickles: `fingerprint`, `keys` (uint8 [N, 32], SHA-256 of the picture file or prompt), `notes`
(what had to be done to read a picture) and one float32 [N, D] array per feature. What the current set does not use is dropped.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
import zipfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evalkit.core import Encoder, EvalkitError, TextEncoder
from evalkit.images import BadImage, check_images, decode, raise_bad_images
from evalkit.run_folder import write_atomically
from evalkit.terminal import progress

SAVE_SECONDS = 60.0  # a kill loses about this much work


class ImageFile(NamedTuple):
    path: Path
    sha256: str  # of the file, in hexadecimal


class Features(NamedTuple):
    values: dict[str, Tensor]  # "pool" and maybe "logits", float32 [N, D]
    notes: list[str]  # per picture: what had to be done to read it, "" for nothing


class _Cache(NamedTuple):
    rows: dict[str, int]
    values: dict[str, NDArray[np.float32]]
    notes: list[str]


def image_features(images: Sequence[ImageFile], encoder: Encoder, cache: Path, *, batch_size: int = 32, label: str = "") -> Features:
    """Features of all pictures in their order; only those that are new to the cache are decoded and encoded.

    Args:
        images: the files with their SHA-256; a file that has another one by now is an error.
        encoder: decoding and `prepare` run in threads, the network in this one.
        cache: the .npz file, read and written.
        batch_size: pictures per call of the encoder; pictures of different prepared sizes are never in one call.
        label: what the progress bar says.
    """
    known = _read(cache, encoder.fingerprint)
    wanted = list(dict.fromkeys(image.sha256 for image in images))
    if not wanted:
        return Features({}, [])
    first = {image.sha256: image for image in reversed(images)}
    missing = [first[key] for key in wanted if key not in known.rows]
    saved, pause = time.monotonic(), SAVE_SECONDS
    pending: list[_Cache] = []
    with progress(label or f"encoding with {encoder.name}", len(missing)) as advance:
        for batch in _encode(missing, encoder, batch_size):
            pending.append(batch)
            advance(len(batch.rows))
            if time.monotonic() - saved > pause:
                known, pending, started = _joined([known, *pending]), [], time.monotonic()
                _write(cache, encoder.fingerprint, known)
                saved = time.monotonic()
                pause = max(SAVE_SECONDS, 10 * (saved - started))
    known = _chosen(_joined([known, *pending]), wanted)
    if missing or not cache.exists():
        _write(cache, encoder.fingerprint, known)
    rows = [known.rows[image.sha256] for image in images]
    values = {name: torch.from_numpy(array[rows]) for name, array in known.values.items()}
    return Features(values, [known.notes[row] for row in rows])


def text_features(texts: Sequence[str], encoder: TextEncoder, cache: Path) -> Tensor:
    """Features of all prompts in their order, float32 [N, D]; each different prompt is read once and cached."""
    known = _read(cache, encoder.fingerprint)
    keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
    by_key = dict(zip(keys, texts, strict=True))
    missing = [key for key in by_key if key not in known.rows]
    if missing:
        values = {"pool": encoder.text([by_key[key] for key in missing]).numpy().astype(np.float32)}
        fresh = _Cache({key: row for row, key in enumerate(missing)}, values, [""] * len(missing))
        known = _chosen(_joined([known, fresh]), list(by_key))
        _write(cache, encoder.fingerprint, known)
    return torch.from_numpy(known.values["pool"][[known.rows[key] for key in keys]])


def prepared(images: Sequence[ImageFile], encoder: Encoder, ahead: int) -> Iterator[tuple[ImageFile, str, Tensor]]:
    """(file, note, uint8 [3, H, W]) in order, decoded by threads that run at most `ahead` pictures ahead."""

    def read(image: ImageFile) -> tuple[str, Tensor] | str:
        try:
            data = image.path.read_bytes()
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        if hashlib.sha256(data).hexdigest() != image.sha256:
            return "is not the file that was made: its SHA-256 is another one"
        found = decode(data)
        return found if isinstance(found, str) else (found.note, encoder.prepare(found.image))

    queue: deque[tuple[ImageFile, Future[tuple[str, Tensor] | str]]] = deque()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for image in images:
            queue.append((image, pool.submit(read, image)))
            if len(queue) >= ahead:
                yield _ready(*queue.popleft(), images)
        while queue:
            yield _ready(*queue.popleft(), images)


def _ready(image: ImageFile, future: Future[tuple[str, Tensor] | str], images: Sequence[ImageFile]) -> tuple[ImageFile, str, Tensor]:
    found = future.result()
    if isinstance(found, str):
        check_images([other.path for other in images])  # names all that cannot be decoded, not the first one only
        raise_bad_images([BadImage(image.path, found)], len(images))
        raise AssertionError("raise_bad_images returns never")
    return image, *found


def _encode(images: Sequence[ImageFile], encoder: Encoder, batch_size: int) -> Iterator[_Cache]:
    """Batches of one prepared size each, in the order in which they fill up."""
    waiting: dict[tuple[int, ...], list[tuple[ImageFile, str, Tensor]]] = {}
    for item in prepared(images, encoder, 2 * batch_size):
        group = waiting.setdefault(tuple(item[2].shape), [])
        group.append(item)
        if len(group) == batch_size:
            yield _encoded(waiting.pop(tuple(item[2].shape)), encoder)
    for group in waiting.values():
        yield _encoded(group, encoder)


def _encoded(group: list[tuple[ImageFile, str, Tensor]], encoder: Encoder) -> _Cache:
    values = encoder(torch.stack([pixels for _, _, pixels in group]))
    arrays = {name: value.cpu().numpy().astype(np.float32) for name, value in values.items()}
    if any(array.ndim != 2 or len(array) != len(group) for array in arrays.values()):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise EvalkitError(f"The encoder {encoder.name} returned {shapes} for {len(group)} images; expected [{len(group)}, D].")
    return _Cache({image.sha256: row for row, (image, _, _) in enumerate(group)}, arrays, [note for _, note, _ in group])


def _empty() -> _Cache:
    return _Cache({}, {}, [])


def _joined(parts: Sequence[_Cache]) -> _Cache:
    """All rows of parts that share no key. Parts with other features than the last one's are left out."""
    filled = [part for part in parts if part.rows]
    parts = [part for part in filled if part.values.keys() == filled[-1].values.keys()]
    if not parts:
        return _empty()
    keys = [key for part in parts for key in part.rows]
    values = {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}
    return _Cache({key: row for row, key in enumerate(keys)}, values, [note for part in parts for note in part.notes])


def _chosen(cache: _Cache, keys: list[str]) -> _Cache:
    if any(key not in cache.rows for key in keys):
        raise EvalkitError(
            "The encoder gives other features than those in the cache.", "Delete the run's features folder, or change the fingerprint."
        )
    rows = [cache.rows[key] for key in keys]
    values = {name: array[rows] for name, array in cache.values.items()}
    return _Cache({key: row for row, key in enumerate(keys)}, values, [cache.notes[row] for row in rows])


def _read(path: Path, fingerprint: str) -> _Cache:
    """What the file holds, nothing where it is missing, damaged or of another encoder: a cache may always be made anew."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if str(file["fingerprint"]) != fingerprint:
                return _empty()
            keys = [bytes(row).hex() for row in file["keys"]]
            values = {name.removeprefix("feature."): file[name] for name in file.files if name.startswith("feature.")}
            notes = [str(note) for note in file["notes"]]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return _empty()
    if any(len(array) != len(keys) for array in (notes, *values.values())):
        return _empty()
    return _Cache({key: row for row, key in enumerate(keys)}, values, notes)


def _write(path: Path, fingerprint: str, cache: _Cache) -> None:
    file = io.BytesIO()
    keys = np.array([list(bytes.fromhex(key)) for key in cache.rows], dtype=np.uint8).reshape(-1, 32)
    arrays: dict[str, Any] = {f"feature.{name}": array for name, array in cache.values.items()}
    np.savez(file, fingerprint=np.array(fingerprint), keys=keys, notes=np.array(cache.notes, dtype=np.str_), **arrays)
    write_atomically(path, file.getvalue())
