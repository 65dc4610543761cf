"""The command `evalkit figures`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.options import Folder
from evalkit.cli.output import clean, print_lines


def figures(
    path: Folder,
    width: Annotated[
        str, typer.Option(help="icml, cvpr, aaai, acl, neurips, iclr or slides.")
    ] = "icml",
    columns: Annotated[str, typer.Option(help="one or two columns of the paper.")] = "one",
    only: Annotated[
        str | None,
        typer.Option(
            help="Names of figures joined by commas: metrics, differences, pareto, groups, scores, "
            "fid_by_count, strengths, win_rates, human, agreement, images.  [default: all]"
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Metrics to draw, joined by commas.  [default: those of images]"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder to write to.  [default: figures/WIDTH in the run folder]"),
    ] = None,
) -> None:
    """Write the figures of a scored run for a paper or for slides.

    Each one is a PDF, an SVG and a PNG, with its data as CSV and its caption as text.

    \b
    Examples:
      evalkit figures reports/first --width neurips
      evalkit figures reports/first --width icml --columns two --only metrics,differences
      evalkit figures reports/first --width slides --out slides/figures
    """
    with clean():
        from evalkit.figures.write import write_figures

        print_lines(
            write_figures(path, width=width, columns=columns, only=only, metrics=metrics, out=out)
        )
