"""What a set of images lacks, in the same words everywhere: files not taken, images missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from evalkit.core import Request
from evalkit.escape import visible
from evalkit.sources.image import in_words
from evalkit.terminal import shorten

_LISTED = 10  # names


def name_of(request: Request) -> str:
    """An image by the id and text of its prompt: `00017-0 a red cube`."""
    return visible(f"{request.prompt.id}-{request.sample} {request.prompt.text}")


def missing_images(missing: Iterable[Request], requested: int) -> dict[str, Any]:
    """How many of the requested images are missing, and the first ten of them."""
    names = [name_of(request) for request in missing]
    return {"count": len(names), "requested": requested, "names": names[:_LISTED]}


def absent(found: Mapping[str, Any]) -> list[str]:
    """The results of `not_taken` and `missing_images`, under these keys, as sentences."""
    lines = []
    if (left := found.get("not_taken")) and left["count"]:
        lines.append(in_words(left))
    if (missing := found.get("missing")) and (count := missing["count"]):
        names = ", ".join(shorten(name, 100) for name in missing["names"])
        more = ", …" if count > len(missing["names"]) else ""
        verb = "is" if count == 1 else "are"
        lines.append(
            f"{count:,} of {missing['requested']:,} requested images {verb} missing ({names}{more})"
        )
    return lines
