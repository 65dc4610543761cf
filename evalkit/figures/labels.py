"""Names of models and groups as labels that fit into a chart, a table or beside an image."""

from __future__ import annotations

import os
from collections.abc import Sequence

from evalkit.terminal import one_line, shorten

__all__ = ["labels", "shorten"]


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
