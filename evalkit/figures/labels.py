"""Names of models and groups as labels that fit into a chart, a table or beside an image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

from evalkit.terminal import one_line, shorten

__all__ = ["labels", "labels_within", "shorten", "width_of"]


def labels(names: Sequence[str], most: int) -> dict[str, str]:
    """A label of at most `most` characters for each name; different names get different labels.

    Names that are equal after shortening differ in the middle: they are shown without their common
    beginning. Where that does not help either, they are numbered.
    """
    long = [plain for name in names if len(plain := one_line(name)) > most]
    shared = len(os.path.commonprefix(long)) if len(long) > 1 else 0  # noqa: RUF071 (characters)
    for cut in (0, max(0, shared - most // 4)):
        found = {name: _without(name, cut, most) for name in names}
        if len({*found.values()}) == len(found):
            return found
    return _numbered(names, most)


def labels_within(names: Sequence[str], points: float, size: float) -> dict[str, str]:
    """Labels that are at most this wide at a font size, as far as 6 characters are; in points."""
    for most in range(40, 6, -2):
        found = labels(names, most)
        if max((width_of(label, size) for label in found.values()), default=0) <= points:
            return found
    return labels(names, 6)


@lru_cache(4096)
def width_of(text: str, size: float) -> float:
    """Width of a text in the font of figures, in points."""
    import warnings

    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        font = FontProperties(family="DejaVu Sans", size=size)
        return text_to_path.get_text_width_height_descent(text, font, False)[0]


def _without(name: str, cut: int, most: int) -> str:
    """The label of a name; of a long one, without its first `cut` characters."""
    plain = one_line(name)
    if not cut or len(plain) <= most:
        return shorten(plain, most)
    return f"…{shorten(plain[cut:], most - 1)}"


def _numbered(names: Sequence[str], most: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        label, number = shorten(name, most), 1
        while label in found.values():
            number += 1
            suffix = f" ({number})"
            label = f"{shorten(name, most - len(suffix))}{suffix}"
        found[name] = label
    return found
