"""Image validation: invalid images and suspicious ones, found while images are decoded.

A damaged, animated, 16-bit, CMYK, partly transparent, ... image is invalid: the set is refused, or
the image is skipped with `on_bad="skip"`. Other findings are warnings and change no score. All
findings are counted and listed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np
from PIL.Image import Image

from evalkit.core import EvalkitError
from evalkit.escape import visible
from evalkit.features import parts
from evalkit.features.image_file import TEMPORARY, ImageFile
from evalkit.features.map_ahead import map_ahead
from evalkit.files import checked, with_check, write_atomically
from evalkit.images import (
    Decoded,
    InvalidImage,
    Unreadable,
    pixels_sha256,
    raise_invalid_images,
)
from evalkit.shards import WHOLE, Shard
from evalkit.terminal import track

OnBad = Literal["refuse", "skip"]
DARK = 2  # an image is black if no value is above this
TINY = 32  # pixels; every encoder enlarges a smaller image about tenfold
LISTED = 10  # names per finding
VERSION = 4  # of the facts in the cache
_AHEAD = 1024  # images that threads may be ahead
_STRIP = 1 << 20  # pixels
SKIP_HINT = "To leave them out: `--on-bad skip`."


class ImageFacts(NamedTuple):
    """The properties of an image that validation needs."""

    reason: str  # why it is invalid, "" for a valid image
    kind: str  # of the reason
    note: str  # the changes that decoding made
    format: str
    width: int
    height: int
    black: bool  # no value above DARK
    one_colour: bool
    pixels: str  # SHA-256 of size and pixels
    sharpness: float = 0.0  # mean size of the Laplacian of the grey image, in values of 0 to 255

    @property
    def problem(self) -> Unreadable | None:
        """Why the image is invalid."""
        return Unreadable(self.reason, self.kind) if self.reason else None


def facts_of(found: Decoded | Unreadable) -> ImageFacts:
    """The facts about one decoded image."""
    if isinstance(found, Unreadable):
        return ImageFacts(str(found), found.kind, "", "", 0, 0, False, False, "")
    pixels = found.image.tobytes()
    black, one_colour = _uniform(found.image, pixels)
    digest = pixels_sha256(found.image, pixels)
    del pixels  # as large as the image
    return ImageFacts(
        reason="",
        kind="",
        note=found.note,
        format=found.format,
        width=found.image.width,
        height=found.image.height,
        black=black,
        one_colour=one_colour,
        pixels=digest,
        sharpness=_sharpness(found.image),
    )


def _sharpness(image: Image) -> float:
    """How much detail of the size of a pixel an image has: a blur reduces it, noise increases it.

    The mean absolute Laplacian (4 neighbours) of the grey image; 0 below 3 x 3 pixels.
    """
    pixels = np.asarray(image.convert("L"))
    height, width = pixels.shape
    if min(height, width) < 3:
        return 0.0
    rows, total = 1 + _STRIP // width, 0
    for top in range(0, height - 2, rows):  # the sums of a whole image would take its memory often
        grey = pixels[top : top + rows + 2].astype(np.int16)
        around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
        total += int(np.abs(4 * grey[1:-1, 1:-1] - around).sum(dtype=np.int64))
    return total / ((height - 2) * (width - 2))


def check_policy(on_bad: str) -> None:
    """Raise EvalkitError unless this is a value of OnBad."""
    if on_bad not in ("refuse", "skip"):
        raise EvalkitError(f"on_bad is {on_bad!r}; expected refuse or skip.", code="features-12")


def raise_invalid(images: Sequence[ImageFile], total: int = 0) -> NoReturn:
    """Raise one EvalkitError that lists all invalid images; at least one must be invalid.

    total: the size of the set, if the rest of it is known to be valid.
    """
    invalid = [InvalidImage(image.path, found) for image, found in _check_all(images) if found]
    if not invalid:
        raise EvalkitError(
            "An image changed while it was read.", "Run the same command again.", code="features-13"
        )
    raise_invalid_images(invalid, total or len(images), SKIP_HINT)


class ImageValidation:
    """The facts about the images of a set, by SHA-256, collected while they are decoded.

    Args:
        cache: a JSON file with facts of earlier runs; ignored if missing or damaged.
        shard: whose file is written, see features/parts.py.
    """

    def __init__(self, cache: Path | None = None, shard: Shard = WHOLE) -> None:
        self._cache = None if cache is None else parts.own(cache, shard)
        self._facts: dict[str, ImageFacts] = {} if cache is None else image_facts(cache, shard)
        self._cached = len(self._facts)

    def add(self, sha256: str, found: Decoded | Unreadable) -> None:
        """Keep the facts about one decoded image. Thread-safe."""
        if sha256 not in self._facts:
            self._facts[sha256] = facts_of(found)

    def of(self, image: ImageFile) -> ImageFacts:
        """The facts about one image, which is decoded unless an encoder had to decode it."""
        if image.sha256 not in self._facts:
            self.add(image.sha256, image._replace(on_decoded=None).decode())
        return self._facts[image.sha256]

    def complete(self, images: Sequence[ImageFile]) -> list[ImageFacts]:
        """The facts about all images. Decodes those that no encoder had to decode."""
        by_key = {image.sha256: image._replace(on_decoded=self.add) for image in images}
        missing = [image for key, image in by_key.items() if key not in self._facts]
        if missing:
            list(_check_all(missing))  # `add` receives the results
        if self._cache is not None and len(self._facts) > self._cached:
            lasting = {
                key: self._facts[key] for key in by_key if self._facts[key].kind not in TEMPORARY
            }
            content = with_check({"version": VERSION, "facts": lasting})
            write_atomically(self._cache, json.dumps(content))
        return [self._facts[image.sha256] for image in images]

    def invalid(self, images: Sequence[ImageFile]) -> list[InvalidImage | None]:
        """Per image: why it is invalid, None for a valid one."""
        facts = self.complete(images)
        return [
            InvalidImage(image.path, one.problem) if one.problem else None
            for image, one in zip(images, facts, strict=True)
        ]

    def findings(
        self,
        images: Sequence[ImageFile],
        skipped: Sequence[InvalidImage] = (),
        root: Path | None = None,
    ) -> dict[str, Any]:
        """All findings on a set, for image_checks.json and protocol.json; see `summary`.

        root: files in it are named relative to it, so that a run can be moved and published.

        Raises EvalkitError for an invalid image.
        """

        def name(path: Path) -> Path:
            return path.relative_to(root) if root and path.is_relative_to(root) else path

        names = [str(name(image.path)) for image in images]
        left = [one._replace(path=name(one.path)) for one in skipped]
        facts = self.complete(images)
        if any(one.problem for one in facts):  # no encoder has read the images
            raise_invalid(images)
        return summary(names, facts, left)


def image_facts(cache: Path, shard: Shard = WHOLE) -> dict[str, ImageFacts]:
    """The facts that were found so far, by SHA-256 of the file; {} if there are none."""
    facts: dict[str, ImageFacts] = {}
    for path in (*parts.beside(cache, shard), parts.own(cache, shard)):
        facts |= _read(path)
    return facts


def write_image_checks(folder: Path, findings: Mapping[str, Any]) -> None:
    """image_checks.json of a set without a run: see `summary` and `sources.absent`."""
    text = json.dumps(findings, indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / "image_checks.json", text)
    (folder / "validation.json").unlink(missing_ok=True)  # its name in earlier versions


def summary(
    names: Sequence[str], facts: Sequence[ImageFacts], skipped: Sequence[InvalidImage]
) -> dict[str, Any]:
    """Counts and names of all findings on valid images and on those that were skipped.

    - `taken`, `skipped`: numbers of images; `skipped_kinds`: by kind of reason; `skipped_names`:
      each with its reason.
    - `applied`: changes that decoding made, with the number of images.
    - `black` (no value above 2), `one_colour`, `tiny` (a side below 32 pixels): the number of
      images and up to ten names.
    - `duplicates`: the number of images with the pixels of an earlier one, and up to ten pairs.
    - `sizes` (at most twenty), `formats`: the number of images of each, most frequent first.
    """
    names = list(map(visible, names))
    first: dict[str, str] = {}
    duplicates: list[list[str]] = []
    for name, one in zip(names, facts, strict=True):
        if one.pixels in first:
            duplicates.append([first[one.pixels], name])
        first.setdefault(one.pixels, name)
    sizes = Counter(f"{one.width} x {one.height}" for one in facts)
    both = list(zip(names, facts, strict=True))
    kinds = Counter(getattr(item.reason, "kind", item.reason) for item in skipped)
    return {
        "taken": len(facts),
        "skipped": len(skipped),
        "skipped_kinds": dict(kinds.most_common()),
        "skipped_names": [
            {"name": visible(str(item.path)), "reason": visible(item.reason)} for item in skipped
        ],
        "applied": dict(Counter(one.note for one in facts if one.note).most_common()),
        "black": _listed([name for name, one in both if one.black]),
        "one_colour": _listed([name for name, one in both if one.one_colour and not one.black]),
        "tiny": _listed([name for name, one in both if min(one.width, one.height) < TINY]),
        "duplicates": _listed(duplicates),
        "sizes": dict(sizes.most_common(20)),
        "different_sizes": len(sizes),
        "formats": dict(Counter(one.format for one in facts).most_common()),
    }


def notes(findings: Mapping[str, Any]) -> list[str]:
    """The findings on images as short sentences; for what is absent, see `sources.absent`."""
    found = []
    if findings["skipped"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in findings["skipped_kinds"].items())
        found.append(f"{_images(findings['skipped'])} skipped ({kinds})")
    found += [f"{note} to {_images(count)}" for note, count in findings["applied"].items()]
    for key, text in (
        ("black", "all black"),
        ("one_colour", "of one colour only"),
        ("tiny", f"smaller than {TINY} pixels"),
        ("duplicates", "with the same pixels as an earlier one"),
    ):
        if findings[key]["count"]:
            found.append(f"{_images(findings[key]['count'])} {text}")
    different = findings["different_sizes"]
    if different > 1:
        sizes = [f"{count} of {size}" for size, count in findings["sizes"].items()]
        more = ", ..." if different > 3 else ""
        found.append(f"{different} different sizes ({', '.join(sizes[:3])}{more})")
    formats = findings["formats"]
    if len(formats) > 1 and {"JPEG", "WEBP"} & formats.keys():
        counts = ", ".join(f"{count} {name}" for name, count in formats.items())
        found.append(f"mixed formats ({counts}): lossy files score differently")
    return found


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"


def _listed(names: Sequence[Any]) -> dict[str, Any]:
    return {"count": len(names), "names": list(names[:LISTED])}


def _check_all(images: Sequence[ImageFile]) -> Iterator[tuple[ImageFile, Unreadable | None]]:
    """Decode all images in threads; each with the reason why it is invalid."""

    def check(image: ImageFile) -> Unreadable | None:
        found = image.decode()  # the pixels are dropped here, so few images are in memory
        return found if isinstance(found, Unreadable) else None

    return track(map_ahead(check, images, _AHEAD), "checking images", len(images))


def _uniform(image: Image, pixels: bytes) -> tuple[bool, bool]:
    """Whether an image is black, and whether it has one colour only."""
    some = pixels[:: 3 * max(1, len(pixels) // 999)]  # a sample of red decides in most cases
    if max(some) > DARK and min(some) < max(some):
        return False, False
    extrema = image.getextrema()  # ((darkest, brightest), ...) of red, green, blue
    brightest = max(int(high) for _, high in extrema)  # pyright: ignore
    return brightest <= DARK, all(low == high for low, high in extrema)  # pyright: ignore


def _read(path: Path) -> dict[str, ImageFacts]:
    try:
        stored = checked(json.loads(path.read_text(encoding="utf-8")))
        if stored["version"] != VERSION:
            return {}
        return {key: ImageFacts(*values) for key, values in stored["facts"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
