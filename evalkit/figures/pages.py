"""How wide a figure is: the columns of papers, and slides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from evalkit.core import EvalkitError
from evalkit.hints import did_you_mean

Width = Literal["icml", "cvpr", "aaai", "acl", "neurips", "iclr", "slides", "page"]
Columns = Literal["one", "two"]


class Paper(NamedTuple):
    """The widths of a paper in inches."""

    column: float  # of one column
    page: float  # of the text: what two columns and `table*` may use


PAPERS: Mapping[str, Paper] = {  # from the style files of the venues
    "icml": Paper(3.25, 6.75),
    "cvpr": Paper(3.25, 6.875),
    "aaai": Paper(3.3, 6.975),
    "acl": Paper(3.03, 6.3),
    "neurips": Paper(5.5, 5.5),  # a page of one column
    "iclr": Paper(5.5, 5.5),
}
WIDTHS: Mapping[str, Paper] = {
    **PAPERS,
    "slides": Paper(10.0, 10.0),
    "page": Paper(3.3, 6.6),  # the HTML page: one column is the width of a phone
}
SLIDE_HEIGHT = 10 * 9 / 16
TALLEST = 8.5  # inches; a caption still fits below on a page of a paper


class Page(NamedTuple):
    """The place for one figure."""

    width: float  # inches
    scale: float  # of text, lines and markers, relative to a paper
    slide: float  # height of a slide in inches; 0 for a paper

    @property
    def many(self) -> int:
        """How many panels are side by side."""
        return max(1, round(self.width / (2.7 * self.scale)))

    @property
    def most(self) -> int:
        """How many panels may be side by side, where a slide has no place below."""
        return self.many + 1 if self.slide else self.many

    def characters(self, share: float = 0.38) -> int:
        """About how many characters of a label fit into a share of the width."""
        return max(8, min(40, int(share * self.width * 72 / (4.2 * self.scale))))


def page_of(width: str = "icml", columns: str = "one") -> Page:
    """Raises EvalkitError for an unknown width or number of columns."""
    if width not in WIDTHS:
        raise EvalkitError(
            f"There is no width {width!r}.", did_you_mean(width, WIDTHS), code="figures-10"
        )
    if columns not in get_args(Columns):
        raise EvalkitError(
            f"columns is {columns!r}; expected one or two.",
            "Write `--columns two`.",
            code="figures-11",
        )
    inches = WIDTHS[width].column if columns == "one" else WIDTHS[width].page
    slides = width == "slides"
    return Page(inches, 2.0 if slides else 1.0, SLIDE_HEIGHT if slides else 0.0)
