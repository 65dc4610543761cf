"""Midjourney's downloads: a grid of four images beside the images that were taken from it.

`ann_a_red_cube_<uuid>.png` is the grid, or an upscaled image; `ann_a_red_cube_<uuid>_0.png` to `_4`
are single images. Where a prompt has both, only one kind is meant.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

Grids = Literal["upscale", "grid"]
_UUID = "[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_DOWNLOAD = re.compile(rf"(?P<before>.+)_{_UUID}(?P<single>_[0-4])?", re.IGNORECASE)


def without_grids(files: Sequence[Path], keep: Grids) -> tuple[list[Path], dict[Path, str]]:
    """The files to match, and why the other ones are left out."""
    groups: dict[str, dict[bool, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        if match := _DOWNLOAD.fullmatch(file.stem):
            groups[match["before"].casefold()][bool(match["single"])].append(file)
    left: dict[Path, str] = {}
    for kinds in groups.values():
        if len(kinds) == 2 and keep == "upscale":
            left |= dict.fromkeys(kinds[False], "a grid beside its single images")
        elif len(kinds) == 2:
            left |= dict.fromkeys(kinds[True], "a single image beside its grid")
    return [file for file in files if file not in left], left
