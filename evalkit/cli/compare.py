"""The command `evalkit compare`, and the options that `evalkit report` shares with it."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from evalkit.cli.options import Json, Open
from evalkit.cli.output import clean, print_metrics

ComparisonOut = Annotated[
    str | None,
    typer.Option(
        help="The folder of the comparison.  [default: one in reports/ that the same command finds"
        " again]"
    ),
]
AllowMismatch = Annotated[
    list[str] | None,
    typer.Option(help="A condition that may differ; recorded in every output. Repeatable."),
]


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="RUN for all its models, RUN:LABEL for one, NAME=RUN:LABEL to name it."
        ),
    ],
    out: ComparisonOut = None,
    allow_mismatch: AllowMismatch = None,
    as_json: Json = False,
    open_report: Open = False,
) -> None:
    """Compare the models of several runs: one folder with their images, scores and a report.

    The runs must be scored, with the same prompts, seed, settings, encoders and reference. Exit
    code 4: they are not comparable.

    \b
    Examples:
      evalkit compare reports/main reports/pr
      evalkit compare reports/main:dalle new=reports/pr:dalle --out reports/both
      evalkit compare reports/main reports/pr --allow-mismatch seed
    """
    with clean():
        from evalkit.compare.compare import compare as function
        from evalkit.terminal import show_page

        made = function(runs, out=out, allow_mismatch=allow_mismatch)
        page = made.report_path / "index.html"
        print_metrics(made.metrics(), made.path, as_json, f"open {shlex.quote(str(page))}")
        if open_report:
            show_page(page, True)
