"""The stage that makes reference statistics: real pictures, read once, to moments and a sample of
features per encoder.
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL.Image import Image
from torch import Tensor

from evalkit.core import Encoder, EvalkitError
from evalkit.encoders.select import choose, load_named
from evalkit.features import validation as firewall
from evalkit.features.validation import Facts, OnBad
from evalkit.files import atomic_file, write_atomically
from evalkit.images import BadImage, Decoded, Unreadable, decode, raise_bad_images
from evalkit.reference.card import Card, write_card
from evalkit.reference.files import Reference, available, load, user_folder
from evalkit.reference.tally import Tally
from evalkit.sources import Picture, images_below, open_source
from evalkit.terminal import progress

__all__ = [
    "Card",
    "Reference",
    "available",
    "build",
    "build_from_images",
    "features_of",
    "images_below",
    "load",
]

log = logging.getLogger(__name__)
AHEAD = 128  # pictures that threads may be ahead of the encoders, at most; a Replay keeps more


def build(
    images: Path | str,
    *,
    name: str = "",
    out: Path | str | None = None,
    encoders: str = "auto",
    device: str = "auto",
    batch_size: int = 32,
    description: str = "",
    licence: str = "not stated",
    on_bad: OnBad = "refuse",
    keep_all: bool = False,
) -> Path:
    """Reference statistics of real pictures; returns the reference's folder.

    Args:
        images: a folder with its subfolders, a zip, tar shards, an array or a dataset: see
            `evalkit.sources.open_source`.
        name: of the reference; the place's own name if not given.
        out: the folder to write; else one of that name in the user's data folder.
        encoders: `auto`, `standard`, `mini` (the encoder for FID of each), or names joined by
            commas, any number.
        on_bad: pictures that cannot be taken stop everything ("refuse"), or are left out and
            counted ("skip").
        keep_all: store the features of all pictures, not of 2,000 only; memorization asks for that.
    """
    source, place = open_source(images), Path(images)
    return _build(
        _named(source),
        name=name or place.resolve().name.split(".")[0],
        encoders=_encoders(encoders, device),
        out=out,
        count=source.count or 0,
        batch_size=batch_size,
        on_bad=on_bad,
        keep_all=keep_all,
        facts={
            "description": description or f"pictures of {place.resolve().name}",
            "source": str(images),
            "licence": licence,
            "command": f"evalkit reference build {images}",
        },
    )


def build_from_images(
    images: Iterable[Image],
    *,
    name: str,
    encoders: Sequence[Encoder],
    out: Path | str | None = None,
    count: int = 0,
    batch_size: int = 32,
    source: str = "",
    description: str = "",
    licence: str = "not stated",
    command: str = "",
    date: str = "",
    keep_all: bool = False,
) -> Path:
    """Reference statistics of any RGB pictures, read once and never held in memory together;
    returns the folder.

    The stored sample are the pictures with the smallest SHA-256 of their pixels: it depends on no
    order and no seed. count is for the progress bar only.
    """
    facts = {
        "description": description,
        "source": source,
        "licence": licence,
        "date": date,
        "command": command,
    }
    items = ((str(number), partial(_as_rgb, image)) for number, image in enumerate(images))
    return _build(
        items,
        name=name,
        encoders=encoders,
        out=out,
        count=count,
        batch_size=batch_size,
        on_bad="refuse",
        keep_all=keep_all,
        facts=facts,
    )


def features_of(
    place: Path, encoder: Encoder, *, batch_size: int = 32, keep_all: bool = True
) -> Tensor:
    """Features of the pictures of a place, float32 [N, D] in the order of their digests; one that
    cannot be taken is an error.
    """
    tally, bad, count = Tally(encoder, batch_size, keep_all), [], 0
    source = open_source(place)
    with progress(f"encoding {place.name}", source.count or 0) as advance:
        for label, looked in _looked(_named(source), [encoder], batch_size, lambda: bool(bad)):
            advance(1)
            count += 1
            if looked.facts.reason:
                bad.append(
                    BadImage(Path(label), Unreadable(looked.facts.reason, looked.facts.kind))
                )
            for prepared in looked.prepared:
                tally.add(bytes.fromhex(looked.facts.pixels), prepared)
    if bad:
        raise_bad_images(bad, count)
    tally.finish()
    return tally.features()


class _Looked(NamedTuple):
    """One picture as a thread leaves it."""

    facts: Facts
    prepared: list[Tensor]  # for each encoder; [] where the picture cannot be taken


Item = tuple[str, Callable[[], Decoded | Unreadable]]


def _build(
    items: Iterable[Item],
    *,
    name: str,
    encoders: Sequence[Encoder],
    out: Path | str | None,
    count: int,
    batch_size: int,
    on_bad: OnBad,
    keep_all: bool,
    facts: Mapping[str, str],
) -> Path:
    firewall.check_policy(on_bad)
    tallies = [Tally(encoder, batch_size, keep_all) for encoder in encoders]
    names: list[str] = []
    taken: list[Facts] = []
    bad: list[BadImage] = []
    with progress(f"encoding {name}", count) as advance:
        for label, looked in _looked(
            items, encoders, batch_size, lambda: bool(bad) and on_bad == "refuse"
        ):
            advance(1)
            if looked.facts.reason:
                bad.append(
                    BadImage(Path(label), Unreadable(looked.facts.reason, looked.facts.kind))
                )
                continue
            names.append(label)
            taken.append(looked.facts)
            for tally, prepared in zip(
                tallies, looked.prepared, strict=False
            ):  # nothing is prepared once the set is refused
                tally.add(bytes.fromhex(looked.facts.pixels), prepared)
    if bad and on_bad == "refuse":
        raise_bad_images(bad, len(taken) + len(bad), "Or leave them out: `--on-bad skip`.")
    if len(taken) < 2:
        raise EvalkitError(
            f"Found {len(taken)} pictures for the reference {name!r}; expected at least 2.",
            "Give more pictures.",
        )
    for tally in tallies:
        tally.finish()
    found = firewall.summary(names, taken, bad)
    for note in firewall.notes(found):
        log.warning("%s: %s", name, note)
    image_hash = sha256(b"".join(sorted(bytes.fromhex(one.pixels) for one in taken))).hexdigest()
    folder = Path(out) if out is not None else user_folder() / name
    for tally in tallies:
        meta = {
            "name": name,
            "encoder": tally.encoder.name,
            "fingerprint": tally.encoder.fingerprint,
            "image_hash": image_hash,
        }
        arrays = tally.arrays()
        with atomic_file(folder / f"{tally.encoder.name}.npz") as file:
            np.savez(file, **arrays, meta=np.array(json.dumps(meta)))
    write_atomically(
        folder / "firewall.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    )
    write_card(
        folder,
        {"name": name, "count": len(taken), "image_hash": image_hash, **facts},
        [_tally_facts(tally) for tally in tallies],
        found,
    )
    return folder


def _tally_facts(tally: Tally) -> dict[str, Any]:
    moments, rows = tally.moments, tally.kept
    return {
        "name": tally.encoder.name,
        "fingerprint": tally.encoder.fingerprint,
        "count": moments["pool"].count,
        "features": sorted(moments),
        "stored_rows": rows,
        "stored_bytes": rows * len(moments["pool"].mean) * 4,
    }


def _encoders(spec: str, device: str) -> list[Encoder]:
    """By name any number, also several of one kind; else the encoder that FID is measured with."""
    if spec in ("auto", "standard", "mini"):
        return list(choose(spec, device, ("inception",)).encoders.values())
    encoders = load_named(spec, device)
    for encoder in encoders:
        if getattr(encoder, "grouped", False):
            raise EvalkitError(
                f"The encoder {encoder.name} compares pictures of one prompt; a reference has none.",
                "Leave it out.",
            )
    return encoders


def _looked(
    items: Iterable[Item], encoders: Sequence[Encoder], batch_size: int, refused: Callable[[], bool]
) -> Iterator[tuple[str, _Looked]]:
    """Every picture in order, decoded and prepared for all encoders by threads that run a little
    ahead.
    """

    def work(read: Callable[[], Decoded | Unreadable]) -> _Looked:
        found = read()
        if isinstance(found, Unreadable) or refused():
            return _Looked(firewall.facts_of(found), [])
        return _Looked(
            firewall.facts_of(found), [encoder.prepare(found.image) for encoder in encoders]
        )

    queue: deque[tuple[str, Future[_Looked]]] = deque()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for label, read in items:
            queue.append((label, pool.submit(work, read)))
            if len(queue) >= min(2 * batch_size, AHEAD):
                label, future = queue.popleft()
                yield label, future.result()
        while queue:
            label, future = queue.popleft()
            yield label, future.result()


def _named(source: Iterable[Picture]) -> Iterator[Item]:
    return ((picture.name, partial(_read, picture)) for picture in source)


def _read(picture: Picture) -> Decoded | Unreadable:
    try:
        return decode(picture.read())
    except OSError as error:
        return Unreadable(f"cannot be read ({error.strerror})", "cannot be read")


def _as_rgb(image: Image) -> Decoded:
    return Decoded(image if image.mode == "RGB" else image.convert("RGB"), "", "")
