"""Where a LaTeX table fits: in a column of a paper, over its page, or on several pages.

Sizes are in points unless stated otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from evalkit.core import EvalkitError
from evalkit.figures import pages
from evalkit.figures.pages import Paper
from evalkit.hints import did_you_mean

POINTS = 72.27  # of TeX, per inch
LINE = 9.5  # the height of a row
TALLEST = 540.0  # of the tabulars of one float; caption and notes still fit on its page


PAPERS: Mapping[str, Paper] = {
    "any": Paper(3.25, 5.5),  # fits into all of these but acl
    **pages.PAPERS,
}


class Panel(NamedTuple):
    """One tabular: the columns, and the lines between \\toprule and \\bottomrule."""

    columns: str
    width: float  # of the text, without the space between columns
    gaps: int  # between columns
    lines: Sequence[str]
    height: float

    def separation(self, width: float) -> float:
        """Half of the space between two columns, at most 6 points, in a table of inches."""
        free = (width * POINTS - self.width) / (2 * self.gaps)
        return max(1.0, min(6.0, math.floor(free * 2) / 2))


class Layout(NamedTuple):
    """All floats of one table."""

    parts: Sequence[Sequence[Panel]]  # the panels of each float
    width: float  # inches
    wide: bool  # needs `table*` in a paper of two columns


def paper_of(name: str) -> Paper:
    """Raises EvalkitError for an unknown paper."""
    if name not in PAPERS:
        hint = did_you_mean(name, PAPERS)
        raise EvalkitError(
            f"There is no width {name!r}; expected one of {', '.join(PAPERS)}.",
            hint,
            code="report-3",
        )
    return PAPERS[name]


def lay_out(make: Callable[[float], Sequence[Panel]], paper: Paper) -> Layout:
    """One column if the table has no more parts then than it would have over the whole page.

    make: a width in points to the panels that fit into it; none if it is too narrow.
    """
    column, page = (_pack(make(width * POINTS)) for width in paper)
    wide = not column or len(page) < len(column)
    return Layout(page if wide else column, paper.page if wide else paper.column, wide)


def _pack(panels: Sequence[Panel]) -> list[list[Panel]]:
    """Consecutive panels of at most the height of a page."""
    parts: list[list[Panel]] = []
    for panel in panels:
        if parts and sum(one.height for one in parts[-1]) + panel.height <= TALLEST:
            parts[-1].append(panel)
        else:
            parts.append([panel])
    return parts
