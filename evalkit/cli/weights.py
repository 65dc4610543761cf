"""The commands `evalkit weights …`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalkit.cli.options import Json
from evalkit.cli.output import clean, print_json, print_rows

if TYPE_CHECKING:
    from evalkit.encoders.manage_weights import WeightStatus

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The pinned weights of the standard encoders and of scorers.",
)

Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="Encoders, scorers or files from `evalkit weights list`.", show_default=False
    ),
]
Some = Annotated[
    list[str] | None,
    typer.Argument(help="Encoders, scorers or files.  [default: all in the cache]"),
]


@app.command("list")
def list_weights(as_json: Json = False) -> None:
    """Every pinned file: what needs it, size and licence, whether it is in the cache, and where.

    \b
    Example:
      evalkit weights list --json
    """
    with clean():
        from evalkit.encoders.manage_weights import weights_list

        _print(weights_list(), as_json)


@app.command("verify")
def verify_weights(names: Some = None, as_json: Json = False) -> None:
    """Verify the SHA-256 of cached files; exit code 2 if one is damaged or a named one is missing.

    \b
    Example:
      evalkit weights verify inception
    """
    with clean():
        from evalkit.core import EvalkitError
        from evalkit.encoders.manage_weights import weights_verify

        rows = weights_verify(names or ())
        _print(rows, as_json)
        bad = [f"{row.name} is {row.state}" for row in rows if row.state != "verified"]
        if bad:
            raise EvalkitError(
                f"{len(bad)} of {len(rows)} weights files failed verification: {', '.join(bad)}.",
                "Delete these files, then fetch or import them again.",
                code="cli-3",
            )


@app.command("fetch")
def fetch_weights(
    names: Names = None,
    mirror: Annotated[
        str, typer.Option(help="An address or folder to try first.  [default: EVALKIT_MIRROR]")
    ] = "",
    as_json: Json = False,
) -> None:
    """Download weights into the cache and verify their SHA-256; cached files are only verified.

    \b
    Examples:
      evalkit weights fetch inception clip-b32 pickscore
      evalkit weights fetch dinov2-l14 --mirror https://files.example.org/weights
    """
    with clean():
        from evalkit.encoders.manage_weights import weights_fetch

        _print(weights_fetch(names or (), mirror=mirror), as_json)


@app.command("import")
def import_weights(
    path: Annotated[
        Path, typer.Argument(help="A file, or a folder that is searched with all folders in it.")
    ],
    as_json: Json = False,
) -> None:
    """Copy weights from a disk into the cache, without a network; files are matched by SHA-256.

    \b
    Example:
      evalkit weights import some/folder
    """
    with clean():
        from evalkit.encoders.manage_weights import weights_import

        _print(weights_import(path), as_json)


def _print(rows: list[WeightStatus], as_json: bool) -> None:
    if as_json:
        print_json([row._asdict() for row in rows])
        return
    header = ("name", "needed by", "state", "where", "size", "licence", "what it is")
    shown = [
        (
            row.name,
            ", ".join(row.encoders),
            row.state,
            row.path,
            _size(row.size),
            row.licence,
            row.what,
        )
        for row in rows
    ]
    print_rows(header, shown, False)


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
