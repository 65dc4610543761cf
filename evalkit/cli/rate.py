"""The commands `evalkit rate …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from evalkit.cli.options import Folder
from evalkit.cli.output import clean

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Human ratings of the images of a run: collect, import, export and summarize them.",
)


@app.command("export")
def rate_export(
    path: Folder,
    out: Annotated[Path, typer.Option(help="The file to write.")],
    format: Annotated[
        Literal["csv", "json"], typer.Option(help="One long table, or studies and ratings.")
    ] = "csv",
    spreadsheet: Annotated[
        bool,
        typer.Option(
            "--spreadsheet",
            help="For Excel and the like: a byte order mark, and no cell runs as a formula.",
        ),
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="With earlier revisions of changed answers.")
    ] = False,
) -> None:
    """Write all ratings of a run as one table; prints its path.

    \b
    Examples:
      evalkit rate export reports/first --out ratings.csv
      evalkit rate export reports/first --out ratings.csv --spreadsheet
    """
    with clean():
        from evalkit.rate.export_ratings import rate_export as function

        print(function(path, out=out, format=format, spreadsheet=spreadsheet, history=history))
