"""A user's images with captions as training data: read once, cropped to squares, kept in memory."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.escape import visible
from evalkit.features import validation
from evalkit.features.map_ahead import map_ahead
from evalkit.features.validation import ImageFacts
from evalkit.hints import plural
from evalkit.images import InvalidImage, Unreadable, decode, raise_invalid_images, to_tensor
from evalkit.sources import (
    NOT_AN_IMAGE,
    Content,
    ImageSource,
    SourceImage,
    absent,
    not_taken,
    open_source,
)
from evalkit.terminal import track
from evalkit.training.captions.folder import folder_captions
from evalkit.training.captions.shards import shard_captions
from evalkit.training.captions.texts import EXPECTED

log = logging.getLogger(__name__)

MEMORY_LIMIT = 8 << 30  # bytes of all images
_AT_ONCE = 32  # images that threads may be ahead
_CAPTIONS = (".txt", ".json", ".jsonl", ".csv")  # no images, and yet taken


class CaptionedDataset:
    """Images with captions of a user, by row number: the counterpart of `SceneDataset`.

    Args:
        pixels: uint8 [M, 3, S, S]; shared by the parts of a split.
        captions: of each image, one or more.
        names: of each image.
        rows: the images that are in this part; all of them when None.
        checks: what was taken and what was not, for image_checks.json.
    """

    def __init__(
        self,
        pixels: Tensor,
        captions: list[list[str]],
        names: list[str],
        rows: Sequence[int] | None = None,
        checks: dict[str, Any] | None = None,
    ) -> None:
        self.size = int(pixels.shape[-1])  # pixels per side
        self._pixels, self._captions, self._names = pixels, captions, names
        self.checks = checks or {}
        self._rows = torch.tensor(range(len(names)) if rows is None else rows, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def images(self, rows: Sequence[int]) -> Tensor:
        """uint8 [N, 3, size, size]."""
        return self._pixels[self._rows[torch.as_tensor(rows, dtype=torch.int64)]]

    def caption(self, row: int, random: Random) -> str:
        """One of the row's captions, chosen with `random` where there are several."""
        captions = self._captions[int(self._rows[row])]
        return captions[0] if len(captions) == 1 else random.choice(captions)

    def epoch_rows(self, oversample: str = "") -> Tensor:
        """int64: each row once, because the kinds of scenes are unknown."""
        return torch.arange(len(self))

    def prompts(self) -> list[str]:
        """The first caption of each row."""
        return [self._captions[row][0] for row in self._rows.tolist()]

    def captions(self) -> Iterator[str]:
        """All captions of all rows, for learning the vocabulary."""
        return (caption for row in self._rows.tolist() for caption in self._captions[row])

    def split(self, held_out: int) -> tuple[CaptionedDataset, CaptionedDataset]:
        """(training, held out), by a fixed pseudo-random order of the names of the images.

        Other captions or another size move no image to the other part, and an added or removed
        image moves few.
        """
        if not 1 <= held_out < len(self):
            raise EvalkitError(
                f"held_out is {held_out} of {plural(len(self), 'image')}; "
                f"expected 1 to {len(self) - 1}.",
                "Hold out fewer, or give more images.",
                code="training-7",
            )

        def digest(row: int) -> bytes:
            name = self._names[row].encode(errors="surrogateescape")
            return hashlib.sha256(name).digest()

        order, cut = sorted(self._rows.tolist(), key=digest), len(self) - held_out
        return self._part(order[:cut]), self._part(order[cut:])

    def _part(self, rows: Sequence[int]) -> CaptionedDataset:
        return CaptionedDataset(self._pixels, self._captions, self._names, rows)


def read_dataset(place: Path | str, size: int) -> CaptionedDataset:
    """The images of a place that have captions, as squares of `size` pixels per side.

    Accepted places:

    - a folder (with subfolders) in which x.png has its captions in x.txt beside it, one per line,
      or in x.json as below;
    - a folder with captions.jsonl, metadata.jsonl, captions.csv or metadata.csv in it or its
      subfolders, as in Hugging Face's imagefolder: the image's path, relative to that file, under
      file_name, image or file, and its caption under caption, text, prompt or captions, which may
      be a list in .jsonl; an image may have several lines;
    - a folder with COCO's captions*.json in it or in its subfolder annotations: `images` with id
      and file_name, and `annotations` with id, image_id and caption, several per image;
    - webdataset shards, .tar plain or compressed, by a pattern (`shard-{000..012}.tar`) or by their
      folder: key.jpg with key.txt, or key.json with its caption under caption, text, prompt or
      captions. Nothing is unpacked to the disk.

    An image is cropped to its centre square and resized with a Lanczos filter over all source
    pixels (antialiased, no reducing gap). Transparency is composited on white, which is logged.
    Images without caption and captions without image are left out with a warning. Raises
    EvalkitError for invalid images, and if fewer than two pairs are left.
    """
    source = open_source(place)
    if source.kind not in ("folder", "tar"):
        raise EvalkitError(
            f"{place} is of the kind {source.kind}, from which captions cannot be read.",
            f"Give a folder of images or tar shards. {EXPECTED}",
            code="training-8",
        )
    names = [image.name for image in source]
    if not names:
        raise EvalkitError(f"{place} contains no images.", EXPECTED, code="training-9")
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise EvalkitError(
            f"{place} contains several files named {twice[0]!r}.",
            "Names must be unique: create the archive again.",
            code="training-10",
        )
    if source.kind == "folder":
        found = folder_captions(Path(place), names)
    else:
        found = shard_captions(place, names)
    chosen = [name for name in names if name in found.of]
    left = {"not_taken": not_taken(_left(source, names, found.of).items())}
    for line in absent(left):
        log.warning("%s: %s", Path(place).name, line)
    _check_pairs(place, names, chosen, found.unmatched)
    _check_memory(len(chosen), size)
    pixels, facts = _pixels(source, chosen, size)
    checks = validation.summary(chosen, facts, []) | left
    for note in validation.notes(checks):
        log.info("%s: %s", Path(place).name, note)
    captions = [list(dict.fromkeys(found.of[name])) for name in chosen]
    return CaptionedDataset(pixels, captions, chosen, checks=checks)


def _left(
    source: ImageSource, names: Sequence[str], captions: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """The files that are not taken, with the reason."""
    left = {
        name: reason
        for name, reason in source.left.items()
        if not (reason == NOT_AN_IMAGE and name.lower().endswith(_CAPTIONS))
    }
    return left | {name: "without a caption" for name in names if name not in captions}


def _check_pairs(
    place: Path | str, names: Sequence[str], chosen: Sequence[str], unmatched: Sequence[str]
) -> None:
    images = plural(len(names), "image")
    if not chosen and not unmatched:
        raise EvalkitError(f"{place} has {images} and no captions.", EXPECTED, code="training-11")
    if not chosen:
        raise EvalkitError(
            f"{place} has captions of {plural(len(unmatched), 'name')} such as {unmatched[0]!r}, "
            f"and none matches one of its {images}.",
            f"Its first image is {names[0]!r}. {EXPECTED}",
            code="training-12",
        )
    if unmatched:
        missing = plural(len(unmatched), "missing image")
        log.warning("%s has captions of %s, such as %s", place, missing, visible(unmatched[0]))
    if len(chosen) < 2:
        raise EvalkitError(
            f"{place} has 1 image with a caption; expected at least 2.",
            "Add images with captions.",
            code="training-13",
        )


def _check_memory(count: int, size: int) -> None:
    needed = count * 3 * size * size
    if needed > MEMORY_LIMIT:
        raise EvalkitError(
            f"{count} images of {size} x {size} pixels take {needed / 2**30:.1f} GiB of memory; "
            "expected at most 8.",
            "Give fewer images, or train at a smaller size.",
            code="training-14",
        )


def _pixels(
    source: ImageSource, chosen: Sequence[str], size: int
) -> tuple[Tensor, list[ImageFacts]]:
    """uint8 [N, 3, size, size] of the chosen images, with facts about them before the resize.

    Raises EvalkitError, with all invalid images.
    """
    pixels = torch.empty(len(chosen), 3, size, size, dtype=torch.uint8)
    facts: list[ImageFacts] = []
    invalid: list[InvalidImage] = []
    squares = track(_squares(source, set(chosen), size), "reading images", len(chosen))
    for row, (name, (square, found)) in enumerate(zip(chosen, squares, strict=True)):
        facts.append(found)
        if found.problem:
            invalid.append(InvalidImage(Path(source.place, name), found.problem))
        elif square is not None:
            pixels[row] = square
    if invalid:
        raise_invalid_images(invalid, len(chosen))
    return pixels, facts


def _squares(
    source: ImageSource, chosen: set[str], size: int
) -> Iterator[tuple[Tensor | None, ImageFacts]]:
    """The chosen images in order; None for an invalid one."""
    images = (image for image in source if image.name in chosen)
    for _, square in map_ahead(lambda image: _square(_read(image), size), images, _AT_ONCE):
        yield square


def _read(image: SourceImage) -> Content | Unreadable:
    try:
        return image.read()
    except OSError as error:
        return Unreadable(f"cannot be read ({error.strerror})", "cannot be read")


def _square(file: Content | Unreadable, size: int) -> tuple[Tensor | None, ImageFacts]:
    decoded = file if isinstance(file, Unreadable) else decode(file, alpha="white")
    facts = validation.facts_of(decoded)
    if isinstance(decoded, Unreadable):
        return None, facts
    return to_tensor(_centre(decoded.image, size)), facts


def _centre(image: Image.Image, size: int) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Crop first: resize(box=...) would mix in pixels from outside the box.
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.LANCZOS)
