"""Texts in and beside images that are matched by numbers, where they speak of other prompts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from evalkit.core import EvalkitError, Request
from evalkit.escape import visible
from evalkit.generators.beside import beside
from evalkit.generators.embedded import Inside, inside, is_about
from evalkit.generators.pairing import Pairing
from evalkit.terminal import shorten

log = logging.getLogger(__name__)


def check_texts(folder: Path, pairing: Pairing) -> None:
    """Refuse numbers against the texts that generators wrote; name texts of other files.

    A text that has the prompt, maybe with a style before or after it, is that of the prompt.

    Raises:
        EvalkitError: a text in an image is of another prompt than its number.
    """
    if not pairing.by_number:
        return
    files = {file: request for request, file in pairing.found.items() if isinstance(file, Path)}
    found = {file: texts for file in files if (texts := inside(file)).texts}
    _without_stamp(found)
    other = [file for file, texts in found.items() if not texts.may_be(files[file].prompt.text)]
    if other:
        file, request = other[0], files[other[0]]
        text = found[file].positive or max(found[file].texts, key=len)
        flat = pairing.by_number and all(file.parent == folder for file in files)
        by_number = f"take the numbers with `--set LABEL.match={pairing.by_number}`, or "
        raise EvalkitError(
            f"The numbers in the file names of {folder} contradict the texts in the images, for"
            f" {len(other)} of {len(files)} images. {visible(file.name)} is by its number the image"
            f" of prompt {request.prompt.id} ({shorten(request.prompt.text, 60)!r}); the text in"
            f" it is {shorten(text, 60)!r}.",
            f"Give the run the prompts of these images, {by_number if flat else ''}add a"
            " metadata.csv with file_name and prompt.",
            code="generators-5",
        )
    _warn_of_texts_beside(folder.name, files)


def _without_stamp(found: dict[Path, Inside]) -> None:
    """Leave out descriptions that all images share, such as the name of a camera."""
    free = {file: texts.texts for file, texts in found.items() if texts.free}
    if len(free) > 1 and len({*free.values()}) == 1:
        for file in free:
            del found[file]


def _warn_of_texts_beside(folder: str, files: Mapping[Path, Request]) -> None:
    """They may be captions that somebody made of the images: numbers decide."""
    texts = {file: side[0] for file in files if (side := beside(file))}
    other = [
        f"{shorten(visible(file.name), 60)}: {text[:60]!r}"
        for file, text in texts.items()
        if not is_about(text, files[file].prompt.text)
    ]
    if other:
        log.warning(
            "%s: the text beside %d images, which are matched by numbers, is not that of their"
            " prompts: %s",
            *(folder, len(other), ", ".join(other[:10]) + (", …" if len(other) > 10 else "")),
        )
