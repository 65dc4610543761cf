"""How every figure looks, and figures to bytes that are the same on every run.

Nothing here uses pyplot or other global state: a figure is created, drawn and written with its own
settings, whatever the user's matplotlibrc says.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from matplotlib import rc_context, rcParamsDefault
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from evalkit import escape
from evalkit.figures.pages import Page, page_of

Rows = Sequence[Mapping[str, Any]]

# Okabe and Ito, without black and yellow, which are invisible on a dark or a light background.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")
# The report's style sheet recolours these three for dark screens.
INK, MUTED, RULE = "#1a1d21", "#5a626b", "#dfe2e6"
DOTTED = (0, (1, 2))

PNG_DPI = 220
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 8,  # not bold: a second font would double the time and the size of every PDF
    "axes.titlelocation": "left",
    "axes.labelsize": 6.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,  # a model may be called $\LaTeX$
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "lines.markeredgewidth": 0.0,
    "xtick.major.width": 0.6,
    "ytick.major.size": 0,
    "xtick.major.size": 2.5,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,  # TrueType: publishers reject matplotlib's default, Type 3
    "ps.fonttype": 42,
    "svg.hashsalt": "evalkit",
}
# What grows with the text: sizes in points.
_SCALED = ("size", "width", ".pad", "capsize")
_FAMILIES = {key.split(".")[0] for key in STYLE}
_FAMILIES |= {"lines", "patch", "errorbar", "scatter", "hatch", "path", "markers"}


class Look(NamedTuple):
    """Colour, marker and line style of one model, readable in grey too."""

    colour: str
    marker: str
    dash: str


def look(models: Sequence[str], model: str) -> Look:
    place = models.index(model)
    return Look(*(cycle[place % len(cycle)] for cycle in (COLOURS, MARKERS, DASHES)))


class Drawn(Figure):
    """A figure without pyplot, which a notebook shows as it is written to files.

    Its background is white, for dark screens too; `savefig(..., transparent=True)` leaves it out.
    """

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        with _settings({}):  # TrueType fonts: matplotlib's default is Type 3
            super().savefig(*args, **kwargs)

    def _repr_png_(self) -> bytes:
        return to_bytes(self, "png", dpi=130)


@contextlib.contextmanager
def drawing(width: str = "icml", columns: str = "one") -> Iterator[Page]:
    """Draw with our settings and matplotlib's defaults, not with the user's, on a page's width."""
    page = page_of(width, columns)
    scaled = {key: STYLE[key] * page.scale for key in STYLE if key.endswith(_SCALED)}
    with _settings(scaled):
        yield page


@contextlib.contextmanager
def _settings(more: Mapping[str, Any]) -> Iterator[None]:
    defaults = {
        key: value for key, value in rcParamsDefault.items() if key.split(".")[0] in _FAMILIES
    }
    with rc_context(defaults | STYLE | dict(more)):  # type: ignore[arg-type]
        yield


def to_bytes(
    figure: Figure,
    kind: Literal["svg", "pdf", "png"],
    text: Literal["path", "none"] = "path",
    dpi: int = PNG_DPI,
) -> bytes:
    """The figure as a file, without dates or program versions.

    Args:
        text: "none" keeps the words of an SVG as text.
        dpi: of a PNG.
    """
    buffer = io.BytesIO()
    with _settings({"svg.fonttype": text}), warnings.catch_warnings():
        # A name in a script that the font lacks shows boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
            figure.draw_without_rendering()  # lay out once, not again for every file
            figure.set_layout_engine("none")
        # The canvases are called directly: `figure.savefig` draws everything twice.
        figure.set_dpi(dpi if kind == "png" else 72)
        ground = figure.get_facecolor()
        # The HTML page has a dark theme, and a paper its own colour.
        figure.set_facecolor("white" if kind == "png" else "none")
        if kind == "svg":
            metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            FigureCanvasSVG(figure).print_svg(buffer, metadata=metadata)
        elif kind == "pdf":
            metadata = dict.fromkeys(("CreationDate", "Creator", "Producer"))
            FigureCanvasPdf(figure).print_pdf(buffer, metadata=metadata)
        else:
            FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
        figure.set_facecolor(ground)
    return buffer.getvalue()


def to_csv(rows: Rows) -> str:
    """The plotted values, one line per row, in full precision.

    A text that a spreadsheet would run as a formula has `'` before it. The functions that draw
    take it away again.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = ([row.get(name, "") for name in columns] for row in rows)
    return escape.to_csv([columns, *map(escape.spreadsheet_row, cells)])
