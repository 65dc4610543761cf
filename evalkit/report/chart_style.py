"""How every figure looks, and figures to bytes that are the same on every run.

Nothing here touches pyplot or any other global state: a figure is made, drawn and written inside
its own settings, whatever the user's matplotlibrc says.
"""

from __future__ import annotations

import csv
import functools
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, ParamSpec, TypeVar

from matplotlib import rc_context, rcParamsDefault
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

P = ParamSpec("P")
T = TypeVar("T")
Rows = Sequence[Mapping[str, Any]]

INK, MUTED, RULE = (
    "#1a1d21",
    "#5a626b",
    "#dfe2e6",
)  # the report's style sheet recolours these three for dark screens

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
    "xtick.major.width": 0.6,
    "ytick.major.size": 0,
    "xtick.major.size": 2.5,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,  # TrueType: publishers refuse matplotlib's default, Type 3
    "ps.fonttype": 42,
    "svg.hashsalt": "evalkit",
}


_FAMILIES = {key.split(".")[0] for key in STYLE} | {
    "lines",
    "patch",
    "errorbar",
    "scatter",
    "hatch",
    "path",
    "markers",
}


def styled(make: Callable[P, T]) -> Callable[P, T]:
    """Run a function under our settings and matplotlib's defaults, whatever the user's matplotlibrc
    says.
    """

    @functools.wraps(make)
    def styled(*args: P.args, **kwargs: P.kwargs) -> T:

        defaults = {
            key: value for key, value in rcParamsDefault.items() if key.split(".")[0] in _FAMILIES
        }
        with rc_context(defaults | STYLE):  # type: ignore[arg-type]
            return make(*args, **kwargs)

    return styled


@styled
def to_bytes(
    figure: Figure, kind: Literal["svg", "pdf", "png"], text: Literal["path", "none"] = "path"
) -> bytes:
    """The figure as a file, without dates or program versions. `text="none"` keeps the words of an
    SVG as words.
    """
    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": text}), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing"
        )  # a name in a script that the font lacks shows boxes
        if isinstance(
            figure.get_layout_engine(), ConstrainedLayoutEngine
        ):  # lay out once, not again for every file
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        # The canvases are asked directly: `figure.savefig` would draw everything twice.
        figure.set_dpi(PNG_DPI if kind == "png" else 72)
        if kind == "svg":
            FigureCanvasSVG(figure).print_svg(
                buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
            )
        elif kind == "pdf":
            FigureCanvasPdf(figure).print_pdf(
                buffer, metadata={"CreationDate": None, "Creator": None, "Producer": None}
            )
        else:
            figure.set_facecolor("white")
            FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
            figure.set_facecolor("none")
    return buffer.getvalue()


def to_csv(rows: Rows) -> str:
    """The plotted numbers, one line per row, in full precision."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
