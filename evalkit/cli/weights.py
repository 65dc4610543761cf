"""The commands `evalkit weights …`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalkit.cli.options import Json, clean, print_rows

if TYPE_CHECKING:
    from evalkit.encoders.manage_weights import WeightStatus

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The pinned weights of the standard encoders."
)

Names = Annotated[
    list[str], typer.Argument(help="Encoders or files, as `evalkit weights list` names them.")
]
Some = Annotated[
    list[str] | None, typer.Argument(help="Encoders or files.  [default: all that are here]")
]


@app.command("list")
def list_weights(as_json: Json = False) -> None:
    """Every pinned file: for which encoders, its size and licence, whether it is here and where.

    \b
    Example:
      evalkit weights list --json
    """
    with clean():
        from evalkit.encoders.manage_weights import weights_list

        _print(weights_list(), as_json)


@app.command("verify")
def verify_weights(names: Some = None, as_json: Json = False) -> None:
    """Compute the SHA-256 of the files that are here; exit code 2 where one is damaged or a named one is missing.

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
                f"Of {len(rows)} weights {len(bad)} are not as pinned: {', '.join(bad)}.",
                "Fetch or import them again.",
            )


@app.command("fetch")
def fetch_weights(
    names: Names,
    mirror: Annotated[
        str, typer.Option(help="An address or folder to ask first.  [default: EVALKIT_MIRROR]")
    ] = "",
    as_json: Json = False,
) -> None:
    """Download weights into the cache, checked by SHA-256; what is here already is only checked.

    \b
    Examples:
      evalkit weights fetch inception clip-b32
      evalkit weights fetch dinov2-l14 --mirror https://files.example.org/weights
    """
    with clean():
        from evalkit.encoders.manage_weights import weights_fetch

        _print(weights_fetch(names, mirror=mirror), as_json)


@app.command("import")
def import_weights(
    path: Annotated[
        Path, typer.Argument(help="A file, or a folder that is searched with all folders in it.")
    ],
    as_json: Json = False,
) -> None:
    """Take weights from a disk, on a machine without a network: files are known by their SHA-256, whatever their names.

    \b
    Example:
      evalkit weights import some/folder
    """
    with clean():
        from evalkit.encoders.manage_weights import weights_import

        _print(weights_import(path), as_json)


def _print(rows: list[WeightStatus], as_json: bool) -> None:
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=1))
        return
    shown = [
        (row.name, ", ".join(row.encoders), row.state, row.path, _size(row.size), row.licence, row.what) for row in rows
    ]  # fmt: skip
    print_rows(
        ("name", "encoders", "state", "where", "size", "licence", "what it is"), shown, False
    )


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
