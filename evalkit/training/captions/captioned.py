"""A user's own pictures with captions as training data: read once, cut to squares of one size and
kept in memory.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, zip_longest
from pathlib import Path
from random import Random

import torch
from PIL.Image import Image, Resampling
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.images import EXPECTED as EXPECTED_PICTURE
from evalkit.images import Decoded, decode, to_tensor
from evalkit.sources import ImageSource, SourceImage, open_source
from evalkit.terminal import track
from evalkit.training.captions.files import EXPECTED, folder_captions
from evalkit.training.captions.tar import shard_captions

log = logging.getLogger(__name__)

MEMORY_LIMIT = 8 << 30  # bytes of all pictures
_AT_ONCE = 32  # files in memory while they are decoded


class Captioned:
    """Pictures with captions of a user, addressed by row number: the counterpart of
    `training.dataset.SceneDataset`.

    Args:
        pixels: uint8 [M, 3, S, S]; shared by the parts of a split.
        captions: of each picture, one or more.
        names: of each picture.
        rows: the pictures that are in this part; all of them where it is left out.
    """

    def __init__(
        self,
        pixels: Tensor,
        captions: list[list[str]],
        names: list[str],
        rows: Sequence[int] | None = None,
    ) -> None:
        self.size = int(pixels.shape[-1])  # pixels per side
        self._pixels, self._captions, self._names = pixels, captions, names
        self._rows = (
            torch.arange(len(names)) if rows is None else torch.tensor(rows, dtype=torch.int64)
        )

    def __len__(self) -> int:
        return len(self._rows)

    def pictures(self, rows: Sequence[int]) -> Tensor:
        """uint8 [N, 3, size, size]."""
        return self._pixels[self._rows[torch.as_tensor(rows, dtype=torch.int64)]]

    def caption(self, row: int, random: Random) -> str:
        """One of the row's captions, drawn with `random` where there are several."""
        captions = self._captions[int(self._rows[row])]
        return captions[0] if len(captions) == 1 else random.choice(captions)

    def lots(self, often: str = "") -> Tensor:
        """int64: the rows of an epoch, each once, since nobody knows what kind of scene they are."""
        return torch.arange(len(self))

    def prompts(self) -> list[str]:
        """The first caption of each row."""
        return [self._captions[row][0] for row in self._rows.tolist()]

    def captions(self) -> Iterator[str]:
        """All captions of all rows, for learning the pieces of words."""
        return (caption for row in self._rows.tolist() for caption in self._captions[row])

    def split(self, held_out: int) -> tuple[Captioned, Captioned]:
        """(training, held out): a fixed pseudo-random order of the pictures is cut, which depends
        on nothing but their names.

        So other captions or another size move no picture to the other side, and a picture more or
        less moves few.
        """
        if not 1 <= held_out < len(self):
            message = f"{held_out} pictures are to be held out of {len(self)}; expected 1 to {len(self) - 1}."
            raise EvalkitError(message, "Hold out fewer, or give more pictures.")
        order = sorted(
            self._rows.tolist(),
            key=lambda row: hashlib.sha256(
                self._names[row].encode(errors="surrogateescape")
            ).digest(),
        )
        cut = len(order) - held_out
        training, rest = (
            Captioned(self._pixels, self._captions, self._names, rows)
            for rows in (order[:cut], order[cut:])
        )
        return training, rest


def read_captioned(place: Path | str, size: int) -> Captioned:
    """The pictures of a place that have captions, as squares of `size` pixels per side. What is
    read:

    - a folder (subfolders too) in which x.png has its captions in x.txt beside it, one a line, or
      in x.json as below;
    - a folder with captions.jsonl, metadata.jsonl, captions.csv or metadata.csv in it or its
      subfolders, as Hugging Face's imagefolder has them: the picture's path under file_name, image
      or file, begun in the folder of that file, and its caption under caption, text, prompt or
      captions, which may be a list in .jsonl; a picture may have several lines;
    - a folder with COCO's captions*.json in it or in its folder annotations: `images` with id and
      file_name, and `annotations` with id, image_id and caption, several for a picture;
    - webdataset shards, .tar plain or compressed, by a pattern (`shard-{000..012}.tar`) or the
      folder that they are in: key.jpg with key.txt, or key.json with its caption under caption,
      text, prompt or captions. Nothing is unpacked to the disk.

    A picture is cut to its centre square and resized with Lanczos' filter over all source pixels
    (antialiased, no reducing gap). Transparency is composited on white, which is logged. Pictures
    without caption and captions without picture are left out with a warning. Raises EvalkitError
    for a damaged picture and where fewer than two pairs are left.
    """
    source = open_source(place)
    if source.kind not in ("folder", "tar"):
        message = f"{place} is of the kind {source.kind}, of which captions are not read."
        raise EvalkitError(message, f"Give a folder of pictures or tar shards. {EXPECTED}")
    names = [picture.name for picture in source]
    if not names:
        raise EvalkitError(f"{place} has no pictures in it.", EXPECTED)
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise EvalkitError(
            f"{place} holds several files named {twice[0]!r}.",
            "Nobody can say which is meant: pack it anew.",
        )
    of, astray = (
        folder_captions(Path(place), names)
        if source.kind == "folder"
        else shard_captions(place, names)
    )
    chosen = [name for name in names if name in of]
    _check(place, names, chosen, astray)
    _check_memory(len(chosen), size)
    pixels = torch.empty(len(chosen), 3, size, size, dtype=torch.uint8)
    notes = Counter[str]()
    for row, (square, note) in enumerate(
        track(_squares(source, set(chosen), size), "reading pictures", len(chosen))
    ):
        pixels[row] = square
        notes[note] += 1
    for note, count in notes.items():
        if note:
            log.info("%d of %d pictures of %s: %s", count, len(chosen), place, note)
    return Captioned(pixels, [list(dict.fromkeys(of[name])) for name in chosen], chosen)


def _check(
    place: Path | str, names: Sequence[str], chosen: Sequence[str], astray: Sequence[str]
) -> None:
    if not chosen and not astray:
        raise EvalkitError(
            f"{place} has {_count(len(names), 'picture')} and no captions.", EXPECTED
        )
    if not chosen:
        strays, pictures = _count(len(astray), "name"), _count(len(names), "picture")
        message = f"{place} has captions of {strays} such as {astray[0]!r}, and none is one of its {pictures}."
        raise EvalkitError(message, f"Its first picture is {names[0]!r}. {EXPECTED}")
    if astray:
        log.warning(
            "%s has captions of %s that it lacks, such as %s",
            place,
            _count(len(astray), "picture"),
            astray[0],
        )
    if len(chosen) < len(names):
        first = next(name for name, other in zip_longest(names, chosen) if name != other)
        log.warning(
            "%d of %d pictures of %s have no caption and are left out, first %s",
            len(names) - len(chosen),
            len(names),
            place,
            first,
        )
    if len(chosen) < 2:
        raise EvalkitError(
            f"{place} has 1 picture with a caption; expected at least 2.",
            "Add pictures with captions.",
        )


def _check_memory(count: int, size: int) -> None:
    needed = count * 3 * size * size
    if needed > MEMORY_LIMIT:
        message = f"{count} pictures of {size} x {size} pixels take {needed / 2**30:.1f} GiB of memory; expected at most 8."
        raise EvalkitError(message, "Give fewer pictures, or train at a smaller size.")


def _squares(source: ImageSource, chosen: set[str], size: int) -> Iterator[tuple[Tensor, str]]:
    """uint8 [3, size, size] of the chosen pictures in their order, each with a note on what had to
    be done to it.
    """
    pictures = (picture for picture in source if picture.name in chosen)
    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it decodes
        # A compressed archive is read forwards, so files are read here and only decoded by the
        # threads.
        while files := [
            (picture.name, _read(source, picture)) for picture in islice(pictures, _AT_ONCE)
        ]:
            yield from pool.map(lambda file: _square(source, file[0], file[1], size), files)


def _read(source: ImageSource, picture: SourceImage) -> bytes:
    try:
        content = picture.read()
    except OSError as error:
        raise EvalkitError(
            f"The picture {picture.name} of {source.place} cannot be read: {error.strerror}.",
            "Take it out.",
        ) from error
    assert isinstance(content, bytes)  # of a folder or a tar file
    return content


def _square(source: ImageSource, name: str, content: bytes, size: int) -> tuple[Tensor, str]:
    decoded = decode(content, alpha="white")
    if not isinstance(decoded, Decoded):
        raise EvalkitError(
            f"The picture {name} of {source.place} {decoded}.",
            f"Take it out, or save it anew. {EXPECTED_PICTURE}",
        )
    return to_tensor(_centre(decoded.image, size)), decoded.note


def _centre(image: Image, size: int) -> Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cut first: resize(box=...) would mix in what lies beside the box.
    return image.crop((left, top, left + side, top + side)).resize((size, size), Resampling.LANCZOS)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
