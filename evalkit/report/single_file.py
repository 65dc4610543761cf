"""The page as one file for mailing: thumbnails instead of images, no links to other files."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import unquote

from PIL import Image, ImageOps

from evalkit.features.map_ahead import map_ahead
from evalkit.report.image_size import UNREADABLE
from evalkit.report.links import Link, links
from evalkit.report.numbers import plural

MOST_BYTES = 20_000_000  # of the file: what mail servers still take
SIDES = (768, 512, 384, 256, 192)  # pixels; the largest with which all images fit, else the last
QUALITY = 75
LOSSLESS = 128  # pixels: a smaller image is kept as it is
SAMPLE = 24  # images from which the size of all is estimated
# Links to files beside the page, which the recipient of one file does not have.
BESIDE = re.compile(r'<span class="(?:files|beside)">.*?</span>', re.DOTALL)
AHEAD = 32  # images that threads may be ahead: few are made in vain


def to_single_file(page: str, folder: Path) -> str:
    """The page with its images inside, at most 20 MB, and with a note on what it leaves out.

    Args:
        page: the HTML of the page.
        folder: where its addresses start.

    Where not all images fit, whole prompts are left out: those stay that come first by the SHA-256
    of their file names, a fixed sample without selection.
    """
    page = BESIDE.sub("", page)
    found = links(page)
    uses = Counter(link.address for link in found if link.tag == "img")

    def rank(address: str) -> tuple[int, bytes]:  # what is shown twice comes first
        return -uses[address], hashlib.sha256(Path(address).name.encode()).digest()

    order = sorted(uses, key=rank)
    room = MOST_BYTES - len(page.encode("utf-8", "replace")) - 600  # the note
    side = _side(folder, order, uses, room)
    kept: dict[str, str] = {}
    for address, data in _thumbnails(folder, order, side):
        size = len(data) * uses[address]
        if size > room:
            break
        room -= size
        if data:
            kept[address] = data
    note = f'<p class="note" id="left-out">{_note(len(kept), len(uses), side)}</p>\n'
    return _replaced(page, found, kept).replace("<main>\n", f"<main>\n{note}", 1)


def _note(kept: int, images: int, side: int) -> str:
    sampled = ", for a fixed sample of prompts" if kept < images else ""
    return (
        f"This file holds {kept:,} of {plural(images, 'image')}{sampled}, as thumbnails of at most"
        f" {side} pixels. All images are in the run folder, and so are the tables, the data and the"
        " figures as files."
    )


def _side(folder: Path, order: Sequence[str], uses: Mapping[str, int], room: int) -> int:
    """The largest side with which all images are likely to fit."""
    some = order[:: max(1, len(order) // SAMPLE)]
    for side in SIDES[:-1]:
        size = sum(len(data) for _, data in _thumbnails(folder, some, side))
        if size * sum(uses.values()) <= 0.95 * room * max(1, len(some)):
            return side
    return SIDES[-1]


def _thumbnails(folder: Path, addresses: Sequence[str], side: int) -> Iterator[tuple[str, str]]:
    """Each address with its image as a data URI; "" for a file that cannot be read."""
    work = functools.partial(_data_uri, folder, side)
    return map_ahead(work, addresses, AHEAD)


def _data_uri(folder: Path, side: int, address: str) -> str:
    try:
        with Image.open(folder / unquote(address)) as opened:
            image = ImageOps.exif_transpose(opened)
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    except UNREADABLE:
        return ""
    lossless = max(image.size) <= LOSSLESS
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "webp", quality=QUALITY, lossless=lossless)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _replaced(page: str, found: Iterable[Link], kept: Mapping[str, str]) -> str:
    """The page with each image replaced, and each link to a file without its address."""
    parts, end = [], 0
    for link in found:
        parts += [page[end : link.start], _tag(link, kept)]
        end = link.end
    return "".join([*parts, page[end:]])


def _tag(link: Link, kept: Mapping[str, str]) -> str:
    if link.tag == "img" and link.address not in kept:
        return '<span class="gap">not in this file</span>'
    values = link.attributes | ({"src": kept[link.address]} if link.tag == "img" else {})
    attributes = "".join(f' {name}="{escape(text)}"' for name, text in values.items())
    return f"<{link.tag}{attributes}>"
