"""The prompt that a generator wrote into an image file.

WebUI: PNG text `parameters`, or the EXIF user comment of a JPEG. Midjourney: PNG text
`Description`. InvokeAI: PNG text `invokeai_metadata`, JSON with `positive_prompt`.
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


def embedded_prompt(file: Path) -> str:
    """The prompt in a file; "" where there is none to find. Reads no pixels."""
    try:
        with PILImage.open(file, formats=FORMATS) as image:
            comment = image.getexif().get_ifd(_EXIF).get(_USER_COMMENT, b"")
            return _prompt(image.info, comment)
    except Exception:  # whatever is wrong with the file is reported when it is decoded
        return ""


def _prompt(info: dict[Any, Any], comment: object) -> str:
    parameters = info.get("parameters") or _decoded(comment)
    if isinstance(parameters, str):
        return re.split(r"\n(?:Negative prompt:|Steps:)", parameters[:_MOST])[0].strip()
    description = info.get("Description")
    if isinstance(description, str):
        return re.split(r"\s(?:--[a-z]|Job ID:)", description[:_MOST])[0].strip()
    try:
        return str(json.loads(info["invokeai_metadata"])["positive_prompt"]).strip()
    except (KeyError, TypeError, ValueError, RecursionError):
        return ""


def _decoded(comment: object) -> str | None:
    """The text of an EXIF user comment; None where it is not Unicode."""
    if isinstance(comment, bytes) and comment.startswith(b"UNICODE\0"):
        return comment[8:].decode("utf-16-be", "replace")
    return None
