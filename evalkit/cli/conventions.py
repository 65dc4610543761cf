"""The command `evalkit conventions`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalkit.cli.options import BatchSize, Device, Json, clean

if TYPE_CHECKING:
    from evalkit.score.conventions import ConventionRow


def conventions(
    folder: Annotated[
        Path, typer.Argument(help="Images: a folder, zip, tar or array; or a run of one model.")
    ],
    reference: Annotated[
        str,
        typer.Option(
            help="Real images (the same), or reference statistics of the encoders inception*."
        ),
    ],
    target: Annotated[
        str | None, typer.Option(help="A quoted FID, with the digits that are quoted.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="A weights file in place of the pinned one; the output says so.")
    ] = "",
    device: Device = "auto",
    batch_size: BatchSize = 32,
    as_json: Json = False,
) -> None:
    """FID of the same images under every known preprocessing convention; with --target, which of them the number fits.

    \b
    Examples:
      evalkit conventions some/folder --reference coco/val2014
      evalkit conventions some/folder --reference coco/val2014 --target 12.6
    """
    with clean():
        from evalkit.score.conventions import conventions as function
        from evalkit.terminal import print_table

        found = function(
            folder, reference=reference, target=target, weights=weights, device=device or "auto", batch_size=batch_size or 32
        )  # fmt: skip
        if as_json:
            print(json.dumps(dataclasses.asdict(found), indent=1, ensure_ascii=False))
            return
        header = (
            "convention",
            "tools that use it",
            "FID",
            "95% interval",
            "images",
            "real images",
            "minus target",
            "fits",
            "note",
        )
        print_table(
            header if target is not None else (*header[:6], header[8]),
            [_cells(row, target is not None) for row in found.rows],
        )
        for line in (*filter(None, [found.verdict]), *found.notes):
            print(line)


def _cells(row: ConventionRow, targeted: bool) -> tuple[str, ...]:
    value = "not measured" if row.value is None else f"{row.value:.6g}"
    interval = "" if row.low is None or row.high is None else f"{row.low:.4g} to {row.high:.4g}"
    real = (
        str(row.reference_count)
        if row.reference_count
        else "unknown"
        if row.value is not None
        else ""
    )
    cells = (
        row.convention,
        row.tools,
        value,
        interval,
        str(row.count) if row.value is not None else "",
        real,
    )
    fits = {"rounding": "to the last digit", "interval": "within the interval", "": ""}[row.fit]
    distance = "" if row.distance is None else f"{row.distance:+.4g}"
    note = row.note.removeprefix("not measured: ")
    return (*cells, distance, fits, note) if targeted else (*cells, note)
