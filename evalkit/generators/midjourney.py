"""Midjourney's downloads: a grid of four images beside the images that were taken from it.

`ann_a_red_cube_<uuid>.png` is the grid, or an upscaled image; `ann_a_red_cube_<uuid>_0.png` to `_4`
are single images. Where a prompt has both, only one kind is meant. So are `a red cube.png` and
`a red cube_1.png` to `_4`, if the first one is a grid by its size.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from PIL import Image as PILImage

from evalkit.images import FORMATS

Grids = Literal["upscale", "grid"]
_UUID = "[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_RENAMED = re.compile(r"(?P<before>.+?)(?P<single>_[1-4])?")  # `a red cube`, `a red cube_1`
_DOWNLOAD = re.compile(rf"(?P<before>.+)_{_UUID}(?P<single>_[0-4])?", re.IGNORECASE)


def without_grids(files: Sequence[Path], keep: Grids) -> tuple[list[Path], dict[Path, str]]:
    """The files to match, and why the other ones are left out."""
    groups: dict[str, dict[bool, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        if match := _DOWNLOAD.fullmatch(file.stem):
            groups[match["before"].casefold()][bool(match["single"])].append(file)
        elif match := _RENAMED.fullmatch(file.stem):
            groups[f"{match['before'].casefold()}/"][bool(match["single"])].append(file)
    left: dict[Path, str] = {}
    for name, kinds in groups.items():
        if len(kinds) < 2 or (name.endswith("/") and not _is_grid(kinds[False], kinds[True])):
            continue
        if keep == "upscale":
            left |= dict.fromkeys(kinds[False], "a grid beside its single images")
        else:
            left |= dict.fromkeys(kinds[True], "a single image beside its grid")
    return [file for file in files if file not in left], left


def _is_grid(whole: Sequence[Path], singles: Sequence[Path]) -> bool:
    """Whether one image has twice the sides of all the others: names alone prove nothing."""
    sizes = {_size(single) for single in singles}
    return len(whole) == 1 and {_size(whole[0])} == {(2 * w, 2 * h) for w, h in sizes}


def _size(file: Path) -> tuple[int, int]:
    """The size of an image; (1, 0) for a file that is none."""
    try:
        with PILImage.open(file, formats=FORMATS) as image:
            return image.size
    except Exception:  # whatever is wrong with the file is reported when it is decoded
        return 1, 0
