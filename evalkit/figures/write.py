"""All figures of a run for a paper or for slides."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text

from evalkit.core import EvalkitError
from evalkit.figures.captions import caption
from evalkit.figures.collect import COLLECT
from evalkit.figures.difference_dots import difference_dots
from evalkit.figures.fid_by_count import fid_by_count
from evalkit.figures.group_dots import group_dots
from evalkit.figures.image_grid import image_grid
from evalkit.figures.metric_agreement import metric_agreement
from evalkit.figures.metric_dots import metric_dots
from evalkit.figures.pages import SLIDE_HEIGHT, TALLEST, WIDTHS, page_of
from evalkit.figures.pareto import pareto
from evalkit.figures.raters import metric_against_human, strengths, win_rates
from evalkit.figures.rows import Row, models_of
from evalkit.figures.score_distribution import score_distribution
from evalkit.figures.source import Absent, Source
from evalkit.figures.style import to_bytes, to_csv
from evalkit.files import write_atomically
from evalkit.hints import did_you_mean
from evalkit.run_folder import Run
from evalkit.specs import chosen_names

log = logging.getLogger(__name__)

KINDS = ("pdf", "svg", "png")
FILES = (*KINDS, "csv", "txt")  # of each figure; the .txt is its caption


def write_figures(
    path: os.PathLike[str] | str,
    *,
    width: str = "icml",
    columns: str = "one",
    only: str | Sequence[str] | None = None,
    metrics: str | Sequence[str] | None = None,
    out: os.PathLike[str] | str | None = None,
) -> Path:
    """Write the figures of a scored run for a paper or for slides, and return their folder.

    Each figure is a PDF, an SVG and a PNG, with its data as CSV and its caption as text. A figure
    whose data the run does not have is not written, and the log gives the reason. The same run
    always gives the same bytes.

    Args:
        path: the run folder.
        width: icml, cvpr, aaai, acl, neurips, iclr or slides.
        columns: one or two columns of the paper.
        only: names of figures: metrics, differences, pareto, groups, scores, fid_by_count,
            strengths, win_rates, human, agreement, images. All by default.
        metrics: names of the metrics that are drawn; those of images by default.
        out: the folder to write to; `<path>/figures/<width>` by default, `<width>-two` for two
            columns.

    Raises:
        EvalkitError: the run is not scored, an option is unknown, or no figure can be drawn.
    """
    page_of(width, columns)
    names = chosen_names(only, "--only") or list(COLLECT)
    unknown = [name for name in names if name not in COLLECT]
    if unknown:
        raise EvalkitError(
            f"There is no figure {unknown[0]!r}.",
            did_you_mean(unknown[0], list(COLLECT)),
            code="figures-23",
        )
    source = Source(Run(path), chosen_names(metrics, "--metrics"))
    folder = Path(out) if out else source.run.path / "figures" / _folder(width, columns)
    _ = source.changes  # what has changed is said before the figures are drawn
    written, reasons = [], {}
    for name in COLLECT:
        if name not in names:
            continue
        try:
            rows = COLLECT[name](source)
            figure = _draw(name, rows, source, width, columns)
        except Absent as error:
            reasons[name] = str(error)
        except EvalkitError as error:
            reasons[name] = error.message
        else:
            _write(folder, name, figure, rows, caption(name, rows, source))
            written.append(name)
            _mention_height(name, figure, width, columns)
    for name, reason in reasons.items():
        log.info("no figure %s: %s", name, reason.rstrip("."))
        for kind in FILES:  # of an earlier run
            (folder / f"{name}.{kind}").unlink(missing_ok=True)
    if not written:
        raise EvalkitError(
            f"{source.run.path} has no data for any of these figures.",
            "The log gives the reason of each.",
            code="figures-24",
        )
    log.info("figures: %s", ", ".join(written))
    return folder


def _folder(width: str, columns: str) -> str:
    return width if columns == "one" else f"{width}-{columns}"


_FUNCTIONS: Mapping[str, Callable[..., Figure]] = {
    "metrics": metric_dots,
    "differences": difference_dots,
    "pareto": pareto,
    "groups": group_dots,
    "scores": score_distribution,
    "fid_by_count": fid_by_count,
    "strengths": strengths,
    "win_rates": win_rates,
    "human": metric_against_human,
    "agreement": metric_agreement,
    "images": image_grid,
}
_WITH_MODELS = ("metrics", "pareto", "groups", "scores", "fid_by_count", "strengths")


def _draw(name: str, rows: Sequence[Row], source: Source, width: str, columns: str) -> Figure:
    """A figure from its rows; a model looks the same in all figures of a run."""
    more: dict[str, Any] = {}
    if name in _WITH_MODELS:
        more["models"] = [
            one for one in source.models if one in models_of(rows) or name != "metrics"
        ]
    if name == "images":
        more["folder"] = source.run.path
    if source.chosen and name in ("metrics", "agreement"):
        more["metrics"] = source.chosen
    return _FUNCTIONS[name](rows, width=width, columns=columns, **more)


def _write(folder: Path, name: str, figure: Figure, rows: Sequence[Row], said: str) -> None:
    for kind in KINDS:
        write_atomically(folder / f"{name}.{kind}", to_bytes(figure, kind))
    write_atomically(folder / f"{name}.csv", to_csv(rows).encode("utf-8", "replace"))
    write_atomically(folder / f"{name}.txt", f"{said}\n".encode("utf-8", "replace"))


_BY_METRIC = ("metrics", "differences", "human")  # one panel per metric


def _mention_height(name: str, figure: Figure, width: str, columns: str) -> None:
    """Warn of a figure that does not fit on its page, with what makes it lower."""
    paper, height = WIDTHS[width], figure.get_figheight()
    place, most = ("slide", SLIDE_HEIGHT) if width == "slides" else ("page", TALLEST)
    if height <= most + 0.005:
        return
    ways = []
    panels = sum(axes.get_visible() for axes in figure.axes)
    if name in _BY_METRIC and panels > 1:
        ways.append("name fewer metrics with `--metrics`")
    if (
        name in (*_BY_METRIC, "strengths", "images")
        and columns == "one"
        and paper.page > paper.column
    ):
        ways.append("use `--columns two`")
    if name == "images":
        ways.append("draw fewer with `evalkit.figures.image_grid(frame, scores, each=1)`")
    smallest = min(
        float(text.get_fontsize()) for text in figure.findobj(Text) if isinstance(text, Text)
    )
    smallest *= most / height
    ways.append(f"scale it to the {place}, with text of {smallest:.1f} pt")
    log.warning(
        "%s is %.1f inches high, and a %s %.1f: %s", name, height, place, most, ", or ".join(ways)
    )
