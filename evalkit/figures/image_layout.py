"""Where the images of a grid are: as large as the width of the page and a slide's height allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from evalkit.figures.labels import labels_within, width_of
from evalkit.figures.pages import Page
from evalkit.terminal import one_line

BLOCK = 0.1  # inches between kinds, one above the other
ASIDE = 0.15  # inches between kinds side by side
LEAST_SIDE = 0.22  # inches: two lines of the text beside an image
Line = tuple[str, str]  # kind and prompt


class Layout(NamedTuple):
    """Lengths in inches, from the upper left corner of the figure."""

    across: int  # kinds side by side
    label: float  # width of the text at the left of the images of a line
    side: float  # of an image, with the gap to the next one
    names: Sequence[str]  # of the models, above the images
    turned: bool
    head: float  # height of the names
    lefts: Sequence[float]  # where each column of kinds begins
    places: Mapping[Line, tuple[float, float]]  # where each line begins: left and top
    rules: Sequence[float]  # heights at which kinds are separated
    height: float


def image_layout(page: Page, models: Sequence[str], lines: Sequence[Line]) -> Layout:
    """One or two kinds side by side, whichever gives larger images, or the lower figure."""
    number = len({kind for kind, _ in lines})
    found = [_layout(page, models, lines, across) for across in range(1, min(2, number) + 1)]
    return max(found, key=lambda one: (round(one.side, 3), one.across))


def _layout(page: Page, models: Sequence[str], lines: Sequence[Line], across: int) -> Layout:
    scale, many = page.scale, len(models)
    kinds = list(dict.fromkeys(kind for kind, _ in lines))
    bands = [kinds[start : start + across] for start in range(0, len(kinds), across)]
    own = {kind: [one for one in lines if one[0] == kind] for kind in kinds}
    deep = [max(len(own[kind]) for kind in band) for band in bands]  # lines of each band
    gaps = BLOCK * scale * (len(bands) - 1)
    cell = (page.width - ASIDE * scale * (across - 1)) / across
    label = max(0.8 * scale, 0.3 * cell if cell / scale < 5 else 1.5 * scale)
    side = min((cell - label) / many, 0.85 * scale)
    names, head, turned = _names(page, models, side)
    if page.slide:
        for _ in range(2):  # the names above smaller images may have to be turned
            free = (page.slide - head - gaps) / sum(deep)
            side = min(side, max(LEAST_SIDE * scale, free))
            names, head, turned = _names(page, models, side)
    label = cell - many * side
    lefts = [column * (cell + ASIDE * scale) for column in range(across)]
    places, rules, top = {}, [], head
    for band, depth in zip(bands, deep, strict=True):
        if top > head:
            rules.append(top + BLOCK * scale / 2)
            top += BLOCK * scale
        for left, kind in zip(lefts, band, strict=False):
            places |= {line: (left, top + row * side) for row, line in enumerate(own[kind])}
        top += depth * side
    return Layout(across, label, side, names, turned, head, lefts, places, rules, top)


def _names(page: Page, models: Sequence[str], side: float) -> tuple[list[str], float, bool]:
    """Labels of the models above the images, their height, and whether they are turned."""
    size = 6.5 * page.scale
    wide = labels_within(models, 72 * side - 2 * page.scale, size)
    turned = [*wide.values()] != [one_line(model) for model in models]
    if not turned:
        return list(wide.values()), 0.2 * page.scale, False
    names = list(labels_within(models, 72 * 1.2 * page.scale, size).values())
    # Hinted letters are wider than their outlines.
    longest = 1.06 * max(width_of(name, size) for name in names) / 72
    return names, longest + 0.08 * page.scale, True
