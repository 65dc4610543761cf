"""What is wrong with pictures, found while they are decoded and said before any number: each
finding is counted and named.

What cannot be taken (damaged, animated, 16-bit, CMYK, partly transparent, ...) refuses the set, or
is skipped where that was asked for. All else is a warning: the picture is scored as it is. Nothing
is changed in silence.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

from PIL.Image import Image

from evalkit.core import EvalkitError
from evalkit.files import write_atomically
from evalkit.images import (
    BadImage,
    Decoded,
    Unreadable,
    content_sha256,
    decode,
    pixels_sha256,
    raise_bad_images,
)
from evalkit.sources import Content
from evalkit.terminal import track

OnBad = Literal["refuse", "skip"]
DARK = 2  # a picture whose brightest value is not above this is black to any eye
TINY = 32  # pixels: every encoder enlarges such a picture tenfold
NAMED = 10  # names per finding
VERSION = 2  # of the facts in the cache
_TOGETHER = 1024  # pictures that wait for a thread at once
_PASSING = (
    "cannot be read",
    "changed",
)  # kinds that say nothing about the content, so they are not cached


class ImageFile(NamedTuple):
    """One picture of a set."""

    path: Path  # of the file; in an archive, the archive's and the name in it
    sha256: str  # of the content, in hexadecimal
    content: Callable[[], Content] | None = (
        None  # where the picture lies in an archive; raises OSError
    )
    seen: Callable[[str, Decoded | Unreadable], None] | None = (
        None  # told what was found, by the thread that decodes
    )


class Facts(NamedTuple):
    """What is kept of a picture that was decoded."""

    reason: str  # why it cannot be taken, "" where it can
    kind: str  # of the reason
    note: str  # what had to be done to read it
    format: str
    width: int
    height: int
    black: bool  # no value above DARK
    one_colour: bool
    pixels: str  # SHA-256 of size and pixels


def check_policy(on_bad: str) -> None:
    """Raise EvalkitError for what is no OnBad."""
    if on_bad not in ("refuse", "skip"):
        raise EvalkitError(f"--on-bad is {on_bad!r}; expected refuse or skip.")


def look(image: ImageFile) -> Decoded | Unreadable:
    """Read and decode one picture, and tell its firewall."""
    found = _decoded(image)
    if image.seen is not None:
        image.seen(image.sha256, found)
    return found


def refuse(images: Sequence[ImageFile], total: int = 0) -> NoReturn:
    """Raise one EvalkitError on all of these pictures that cannot be taken; called where the first
    of them was met.

    total: the size of the set, where the rest of it is known to be good.
    """
    bad = [
        BadImage(image.path, found)
        for image, found in zip(images, _all(images, "checking images"), strict=True)
        if found
    ]
    if not bad:
        raise EvalkitError("A picture changed while it was read.", "Run the same command again.")
    raise_bad_images(bad, total or len(images), "Or leave them out: `--on-bad skip`.")
    raise AssertionError("raise_bad_images returns never")


class Firewall:
    """The facts about the pictures of a set, by SHA-256, as they are decoded.

    Args:
        cache: a JSON file of facts from earlier; a missing or damaged one is made anew.
    """

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache
        self._facts: dict[str, Facts] = _read(cache) if cache is not None else {}
        self._known = len(self._facts)

    def see(self, sha256: str, found: Decoded | Unreadable) -> None:
        """Keep the facts about one picture. May be called by any thread."""
        if sha256 not in self._facts:
            self._facts[sha256] = facts_of(found)

    def complete(self, images: Sequence[ImageFile]) -> None:
        """Decode the pictures that nobody has decoded yet (their features were in a cache)."""
        unseen = [
            image._replace(seen=self.see)
            for image in {image.sha256: image for image in images}.values()
        ]
        unseen = [image for image in unseen if image.sha256 not in self._facts]
        if unseen:
            _all(unseen, "checking images")
        if self._cache is not None and len(self._facts) > self._known:
            kept = {
                image.sha256: self._facts[image.sha256]
                for image in images
                if self._facts[image.sha256].kind not in _PASSING
            }
            write_atomically(self._cache, json.dumps({"version": VERSION, "facts": kept}))

    def bad(self, images: Sequence[ImageFile]) -> list[BadImage | None]:
        """Per picture: why it cannot be taken, None where it can. Decodes what was not decoded yet."""
        self.complete(images)
        facts = [self._facts[image.sha256] for image in images]
        return [
            BadImage(image.path, Unreadable(one.reason, one.kind)) if one.reason else None
            for image, one in zip(images, facts, strict=True)
        ]

    def findings(
        self, images: Sequence[ImageFile], skipped: Sequence[BadImage] = ()
    ) -> dict[str, Any]:
        """All findings on a set as plain values, for firewall.json and protocol.json: see
        `summary`.
        """
        self.complete(images)
        return summary(
            [str(image.path) for image in images],
            [self._facts[image.sha256] for image in images],
            skipped,
        )


def summary(
    names: Sequence[str], facts: Sequence[Facts], skipped: Sequence[BadImage]
) -> dict[str, Any]:
    """Counts and names of all findings.

    - `taken`, `skipped`: how many pictures; `skipped_kinds`: by kind; `skipped_names`: each with
      its reason.
    - `applied`: what had to be done to read pictures, and to how many.
    - `black` (no value above 2), `one_colour`, `tiny` (a side below 32 pixels): count, and up to
      ten names.
    - `duplicates`: count of pictures whose pixels an earlier one has, and up to ten pairs.
    - `sizes`, `formats`: how many pictures of each, the commonest first; of sizes twenty.
    """
    first: dict[str, str] = {}
    twice: list[list[str]] = []
    for name, one in zip(names, facts, strict=True):
        if one.pixels in first:
            twice.append([first[one.pixels], name])
        first.setdefault(one.pixels, name)
    sizes = Counter(f"{one.width} x {one.height}" for one in facts)
    both = list(zip(names, facts, strict=True))
    return {
        "taken": len(facts),
        "skipped": len(skipped),
        "skipped_kinds": dict(
            Counter(
                getattr(item.reason, "kind", str(item.reason)) for item in skipped
            ).most_common()
        ),
        "skipped_names": [{"name": str(item.path), "reason": str(item.reason)} for item in skipped],
        "applied": dict(Counter(one.note for one in facts if one.note).most_common()),
        "black": _named([name for name, one in both if one.black]),
        "one_colour": _named([name for name, one in both if one.one_colour and not one.black]),
        "tiny": _named([name for name, one in both if min(one.width, one.height) < TINY]),
        "duplicates": {"count": len(twice), "names": twice[:NAMED]},
        "sizes": dict(sizes.most_common(20)),
        "different_sizes": len(sizes),
        "formats": dict(Counter(one.format for one in facts).most_common()),
    }


def notes(findings: Mapping[str, Any]) -> list[str]:
    """The warnings in words, one short sentence each; [] where there is nothing to say."""
    said = []
    if findings["skipped"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in findings["skipped_kinds"].items())
        said.append(f"{findings['skipped']} pictures were skipped ({kinds})")
    said += [f"{note} to {count} pictures" for note, count in findings["applied"].items()]
    for key, text in (
        ("black", "all black"),
        ("one_colour", "of one colour only"),
        ("tiny", f"smaller than {TINY} pixels"),
    ):
        if findings[key]["count"]:
            said.append(f"{findings[key]['count']} pictures are {text}")
    if findings["duplicates"]["count"]:
        said.append(
            f"{findings['duplicates']['count']} pictures have the same pixels as an earlier one"
        )
    if findings["different_sizes"] > 1:
        shown = ", ".join(
            f"{count} of {size}" for size, count in list(findings["sizes"].items())[:3]
        )
        said.append(
            f"{findings['different_sizes']} different sizes ({shown}{', ...' if findings['different_sizes'] > 3 else ''})"
        )
    formats = findings["formats"]
    if len(formats) > 1 and {"JPEG", "WEBP"} & formats.keys():
        said.append(
            f"mixed formats ({', '.join(f'{count} {name}' for name, count in formats.items())}): lossy files score differently"
        )
    return said


def _named(names: list[str]) -> dict[str, Any]:
    return {"count": len(names), "names": names[:NAMED]}


def _decoded(image: ImageFile) -> Decoded | Unreadable:
    try:
        content = image.path.read_bytes() if image.content is None else image.content()
    except OSError as error:
        return Unreadable(f"cannot be read ({error.strerror})", "cannot be read")
    if content_sha256(content) != image.sha256:
        return Unreadable("is not the file that was made: its SHA-256 is another one", "changed")
    return decode(content)


def _all(images: Sequence[ImageFile], label: str) -> list[Unreadable | None]:
    """Look at all pictures, in threads; per picture the reason why it cannot be taken."""

    def reason(image: ImageFile) -> Unreadable | None:
        found = look(image)
        return found if isinstance(found, Unreadable) else None

    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it decodes
        parts = (
            pool.map(reason, images[first : first + _TOGETHER])
            for first in range(0, len(images), _TOGETHER)
        )
        return list(track((found for part in parts for found in part), label, len(images)))


def facts_of(found: Decoded | Unreadable) -> Facts:
    """What is kept of one picture."""
    if isinstance(found, Unreadable):
        return Facts(str(found), found.kind, "", "", 0, 0, False, False, "")
    image = found.image
    pixels = image.tobytes()
    black, flat = _dull(image, pixels)
    return Facts(
        "", "", found.note, found.format, *image.size, black, flat, pixels_sha256(image, pixels)
    )


def _dull(image: Image, pixels: bytes) -> tuple[bool, bool]:
    """Whether an image is black, and whether it is of one colour. Some hundred values of red nearly
    always tell that it is neither.
    """
    some = pixels[:: 3 * max(1, len(pixels) // 999)]
    if max(some) > DARK and min(some) < max(some):
        return False, False
    extrema = image.getextrema()  # ((darkest, brightest), ...) of red, green, blue
    return max(int(high) for _, high in extrema) <= DARK, all(low == high for low, high in extrema)  # pyright: ignore


def _read(path: Path) -> dict[str, Facts]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return (
            {key: Facts(*values) for key, values in stored["facts"].items()}
            if stored["version"] == VERSION
            else {}
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
