"""The command `evalkit crosscheck`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalkit.cli.options import BatchSize, Json
from evalkit.cli.output import clean, print_json

if TYPE_CHECKING:
    from evalkit.crosscheck.crosscheck import CrosscheckRow


def crosscheck(
    folder: Annotated[
        Path, typer.Argument(help="Images: a folder, zip, tar or array; or a run of one model.")
    ],
    reference: Annotated[Path, typer.Option(help="Real images (the same).")],
    weights: Annotated[str, typer.Option(help="A weights file in place of the pinned one.")] = "",
    batch_size: BatchSize = 32,
    as_json: Json = False,
) -> None:
    """The same images through torch-fidelity, torchmetrics, pytorch-fid, clean-fid and evalkit.

    All of them get the same files and the same weights, and run on the CPU. Exit code 1 if a value
    differs by more than the rounding of the tool, or if a tool fails.

    \b
    Example:
      evalkit crosscheck some/folder --reference coco/val2014
    """
    with clean():
        from evalkit.crosscheck.crosscheck import crosscheck as function
        from evalkit.terminal import print_table

        rows = function(folder, reference=reference, weights=weights, batch_size=batch_size or 32)
        if as_json:
            print_json([dataclasses.asdict(row) for row in rows])
        else:
            cells = [_cells(row) for row in rows]
            print_table(tuple(cells[0]), [tuple(row.values()) for row in cells])
        if any(row.state in ("differs", "failed") for row in rows):
            raise typer.Exit(1)


def _cells(row: CrosscheckRow) -> dict[str, str]:
    stage = f"{row.stage}: " if row.stage else ""
    return {
        "tool": f"{row.tool} {row.version}".strip(),
        "encoder": row.encoder,
        "metric": row.metric,
        "its value": _number(row.theirs),
        "evalkit": _number(row.ours),
        "difference": "" if row.difference is None else f"{row.difference:+.2g}",
        "rounding": "" if row.tolerance is None else f"{row.tolerance:.2g}",
        "result": row.state,
        "note": f"{stage}{row.note}",
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}"
