"""The prompt that a generator wrote into its image.

WebUI: PNG text `parameters`, or the EXIF user comment of a JPEG; Fooocus: JSON there. Midjourney:
PNG text `Description`. InvokeAI: PNG text `invokeai_metadata`, JSON with `positive_prompt`.
ComfyUI: PNG text `prompt`, the graph of its nodes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

from evalkit.images import FORMATS

_USER_COMMENT, _EXIF = 0x9286, 0x8769
_MOST = 1 << 20  # bytes of a text
_FAULTS = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError)


def embedded_prompt(file: Path) -> str:
    """The prompt in a file; "" where there is none to find. Reads no pixels."""
    try:
        with PILImage.open(file, formats=FORMATS) as image:
            comment = image.getexif().get_ifd(_EXIF).get(_USER_COMMENT, b"")
            return _prompt(image.info, comment)
    except Exception:  # whatever is wrong with the file is reported when it is decoded
        return ""


def of_parameters(text: str) -> str:
    """The prompt in the text that WebUI or Fooocus writes, with further lines or as JSON."""
    if text.startswith("{"):
        try:
            return str(json.loads(text)["prompt"]).strip()
        except _FAULTS:
            pass
    return re.split(r"\n(?:Negative prompt:|Steps:)", text[:_MOST])[0].strip()


def _prompt(info: dict[Any, Any], comment: object) -> str:
    parameters = info.get("parameters") or _decoded(comment)
    if isinstance(parameters, str):
        return of_parameters(parameters)
    description = info.get("Description")
    if isinstance(description, str):
        return re.split(r"\s(?:--[a-z]|Job ID:)", description[:_MOST])[0].strip()
    try:
        return str(json.loads(info["invokeai_metadata"])["positive_prompt"]).strip()
    except _FAULTS:
        return _of_graph(info.get("prompt"))


def _of_graph(text: object) -> str:
    """The text that the samplers of a ComfyUI graph have as positive; "" if it is not one text."""
    try:
        nodes = json.loads(text) if isinstance(text, str) else {}
        links = [
            node["inputs"]["positive"] for node in nodes.values() if "positive" in node["inputs"]
        ]
        texts = {nodes[str(link[0])]["inputs"]["text"].strip() for link in links}
    except _FAULTS:
        return ""
    return texts.pop() if len(texts) == 1 else ""


def _decoded(comment: object) -> str | None:
    """The text of an EXIF user comment; None where it is not Unicode."""
    if isinstance(comment, bytes) and comment.startswith(b"UNICODE\0"):
        return comment[8:].decode("utf-16-be", "replace")
    return None
