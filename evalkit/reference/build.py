"""Reference statistics of real images: moments and a sample of features per encoder.

Every image is decoded once for all encoders, and only a few images are in memory.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL.Image import Image
from torch import Tensor

from evalkit.core import Encoder, EvalkitError
from evalkit.encoders.select import choose, load_named
from evalkit.features import validation
from evalkit.features.calls import prepare
from evalkit.features.map_ahead import map_ahead
from evalkit.features.validation import ImageFacts, OnBad
from evalkit.files import atomic_file
from evalkit.images import Decoded, InvalidImage, Unreadable, decode, raise_invalid_images
from evalkit.plugin_calls import DECODING, apart, is_own
from evalkit.reference.accumulator import Accumulator
from evalkit.reference.card import write_card
from evalkit.reference.files import own_folder
from evalkit.scorer import encoders_only
from evalkit.sources import ImageSource, SourceImage, absent, not_taken, open_source
from evalkit.specs import joined_names
from evalkit.terminal import progress

log = logging.getLogger(__name__)
AHEAD = 128  # the most images that threads may be ahead of the encoders; a Replay keeps more

Item = tuple[str, Callable[[], Decoded | Unreadable]]  # the name of an image, and how to decode it


class _Given(NamedTuple):
    """The images of a reference."""

    items: Iterable[Item]
    total: int  # for the progress bar; 0 if it is unknown
    left: Mapping[str, str]  # file that is not taken -> the reason


def reference_build(
    images: Path | str,
    *,
    name: str = "",
    out: Path | str | None = None,
    encoders: str | Sequence[str] = "auto",
    device: str = "auto",
    batch_size: int = 32,
    description: str = "",
    licence: str = "not stated",
    on_bad: OnBad = "refuse",
    keep_all: bool = False,
    compact: bool = False,
) -> Path:
    """Compute reference statistics of real images; returns the reference's folder.

    Args:
        images: a folder with its subfolders, a zip, tar shards, an array or a dataset; see
            `evalkit.sources.open_source`. "scenes" is the bundled data set.
        name: of the reference; by default the name of the folder or file.
        out: the folder to write; by default one in the user's data folder.
        encoders: `auto`, `standard` or `mini` (the encoder for FID of each), or any number of
            names.
        on_bad: invalid images are an error ("refuse"), or are left out and counted ("skip").
        keep_all: store the features of all images and not of 2,000 only; memorization needs them.
        compact: store the features of all images as float16 and no moments, which follow from
            them: a small file for up to some thousand images, which only evalkit reads.
    """
    if images == "scenes":
        from evalkit.reference.scenes import build_scenes_reference

        return build_scenes_reference(name=name or "scenes", out=out, device=device)
    source, place = open_source(images), Path(images)
    for line in absent({"not_taken": not_taken(source.left.items())}):
        log.warning("%s: %s", place.name, line)
    return _build(
        _Given(_items(source), source.count or 0, source.left),
        name=name or place.resolve().name.split(".")[0],
        encoders=_encoders(joined_names(encoders) or "auto", device),
        out=out,
        batch_size=batch_size,
        on_bad=on_bad,
        keep_all=keep_all,
        compact=compact,
        card={
            "description": description or f"images of {place.resolve().name}",
            "source": str(images),
            "licence": licence,
            "command": f"evalkit reference build {images}{' --compact' if compact else ''}",
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
    keep_all: bool = False,
    card: Mapping[str, str] | None = None,
) -> Path:
    """Compute reference statistics of an iterable of images; returns the reference's folder.

    The sample of features is that of the images with the smallest SHA-256 of their pixels, so it
    depends on neither order nor seed.

    Args:
        count: the number of images, for the progress bar only.
        card: facts for card.toml, such as description, source and licence.
    """
    items = ((str(number), partial(_as_rgb, image)) for number, image in enumerate(images))
    return _build(
        _Given(items, count, {}),
        name=name,
        encoders=encoders,
        out=out,
        batch_size=batch_size,
        on_bad="refuse",
        keep_all=keep_all,
        card={"licence": "not stated", **(card or {})},
    )


def features_of(place: Path, encoder: Encoder) -> Tensor:
    """Features of all images of a place, float32 [N, D] in the order of their digests."""
    source, accumulator = open_source(place), Accumulator(encoder, 32, keep_all=True)
    checked = _accumulate(
        _items(source), [accumulator], f"encoding {place.name}", source.count or 0, "refuse"
    )
    if checked.invalid:
        raise_invalid_images(checked.invalid, checked.total)
    accumulator.finish()
    return accumulator.features()


def _build(
    given: _Given,
    *,
    name: str,
    encoders: Sequence[Encoder],
    out: Path | str | None,
    batch_size: int,
    on_bad: OnBad,
    keep_all: bool,
    card: Mapping[str, str],
    compact: bool = False,
) -> Path:
    validation.check_policy(on_bad)
    folder = Path(out) if out is not None else own_folder(name)
    accumulators = [Accumulator(one, batch_size, keep_all, compact) for one in encoders]
    checked = _accumulate(given.items, accumulators, f"encoding {name}", given.total, on_bad)
    if checked.invalid and on_bad == "refuse":
        raise_invalid_images(checked.invalid, checked.total, validation.SKIP_HINT)
    valid = checked.valid
    if len(valid) < 2:
        raise EvalkitError(
            f"Too few images ({len(valid)}) for the reference {name!r}; expected at least 2.",
            "Give more images.",
            code="reference-4",
        )
    for accumulator in accumulators:
        accumulator.finish()
    findings = validation.summary(list(checked.names), valid, checked.invalid)
    findings |= {"not_taken": not_taken(given.left.items())}
    for note in validation.notes(findings):
        log.warning("%s: %s", name, note)
    image_hash = sha256(b"".join(sorted(bytes.fromhex(one.pixels) for one in valid))).hexdigest()
    for accumulator in accumulators:
        encoder = accumulator.encoder
        meta = {
            "name": name,
            "encoder": encoder.name,
            "fingerprint": encoder.fingerprint,
            "image_hash": image_hash,
        }
        arrays = accumulator.arrays()
        with atomic_file(folder / f"{encoder.name}.npz") as file:
            np.savez(file, **arrays, meta=np.array(json.dumps(meta)))
    validation.write_image_checks(folder, findings)
    facts = {"name": name, "count": len(valid), "image_hash": image_hash, **card}
    write_card(folder, facts, [_file_facts(one) for one in accumulators], findings)
    return folder


class _Checked(NamedTuple):
    names: list[str]  # of the valid images
    valid: list[ImageFacts]
    invalid: list[InvalidImage]

    @property
    def total(self) -> int:
        return len(self.valid) + len(self.invalid)


def _accumulate(
    items: Iterable[Item],
    accumulators: Sequence[Accumulator],
    label: str,
    count: int,
    on_bad: OnBad,
) -> _Checked:
    """Decode all images in threads and add the valid ones to all accumulators.

    If invalid images are to be refused, the images after the first invalid one are checked but not
    prepared or encoded.
    """
    checked = _Checked([], [], [])

    def work(item: Item) -> tuple[ImageFacts, list[Tensor]]:
        found = item[1]()
        if isinstance(found, Unreadable) or (on_bad == "refuse" and checked.invalid):
            return validation.facts_of(found), []
        prepared = [
            # A plug-in may change the image in place.
            prepare(found.image if is_own(one) else found.image.copy(), one)
            for one in (accumulator.encoder for accumulator in accumulators)
        ]
        return validation.facts_of(found), prepared

    ahead = min(2 * max(one.batch_size for one in accumulators), AHEAD)
    with contextlib.ExitStack() as stack:
        for accumulator in accumulators:
            stack.enter_context(apart(accumulator.encoder, DECODING))
        advance = stack.enter_context(progress(label, count or None))
        for (name, _), (facts, prepared) in map_ahead(work, items, ahead):
            advance(1)
            if facts.problem:
                checked.invalid.append(InvalidImage(Path(name), facts.problem))
                continue
            checked.names.append(name)
            checked.valid.append(facts)
            if prepared:
                for accumulator, pixels in zip(accumulators, prepared, strict=True):
                    accumulator.add(bytes.fromhex(facts.pixels), pixels)
    return checked


def _file_facts(accumulator: Accumulator) -> dict[str, Any]:
    moments, rows = accumulator.moments, accumulator.stored_rows
    return {
        "name": accumulator.encoder.name,
        "fingerprint": accumulator.encoder.fingerprint,
        "count": moments["pool"].count,
        "features": ["pool"] if accumulator.compact else sorted(moments),
        "stored_rows": rows,
        "stored_bytes": rows * len(moments["pool"].mean) * (2 if accumulator.compact else 4),
    }


def _encoders(spec: str, device: str) -> list[Encoder]:
    """The named encoders; for `auto`, `standard` and `mini`, the encoder that FID uses."""
    if spec in ("auto", "standard", "mini"):
        return list(encoders_only(choose(spec, device, ("inception",)).encoders).values())
    encoders = load_named(spec, device)
    for encoder in encoders:
        if getattr(encoder, "grouped", False):
            raise EvalkitError(
                f"The encoder {encoder.name} compares images of one prompt; a reference has no "
                "prompts.",
                "Leave it out.",
                code="reference-5",
            )
    return encoders


def _items(source: ImageSource) -> Iterator[Item]:
    return ((image.name, partial(_decode, image)) for image in source)


def _decode(image: SourceImage) -> Decoded | Unreadable:
    try:
        return decode(image.read())
    except OSError as error:
        return Unreadable(f"cannot be read ({error.strerror})", "cannot be read")


def _as_rgb(image: Image) -> Decoded:
    return Decoded(image if image.mode == "RGB" else image.convert("RGB"), "", "")
