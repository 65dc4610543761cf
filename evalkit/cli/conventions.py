"""The command `evalkit conventions`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalkit.cli.options import BatchSize, Device, Json
from evalkit.cli.output import clean, print_json, print_lines

if TYPE_CHECKING:
    from evalkit.score.conventions import ConventionRow

FITS = {"rounding": "to the last digit", "interval": "within the interval", "": ""}


def conventions(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Images: a folder, zip, tar or array; or a run of one model, or RUN:LABEL."
        ),
    ],
    metric: Annotated[
        str, typer.Option(help="fid; or clip_score, pickscore, hpsv2 or hpsv2.1, which need a run.")
    ] = "fid",
    reference: Annotated[
        str | None,
        typer.Option(
            help="For FID: real images (the same), or reference statistics of the encoders"
            " inception*."
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="A quoted value, with the digits that are quoted.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="A weights file in place of the pinned one; the output says so.")
    ] = "",
    device: Device = "auto",
    batch_size: BatchSize = 32,
    as_json: Json = False,
) -> None:
    """FID or CLIP score of images under every known convention; --target tests a quoted value.

    \b
    Examples:
      evalkit conventions some/folder --reference coco/val2014
      evalkit conventions some/folder --reference coco/val2014 --target 12.6
      evalkit conventions reports/first:dalle --metric clip_score --target 31.2
    """
    with clean():
        from evalkit.score.conventions import METRICS
        from evalkit.score.conventions import conventions as function
        from evalkit.terminal import print_table

        found = function(
            folder,
            metric=metric,
            reference=reference,
            target=target,
            weights=weights,
            device=device or "auto",
            batch_size=batch_size or 32,
        )
        if as_json:
            print_json(dataclasses.asdict(found))
            return
        rows = [_cells(row, METRICS[found.metric].title) for row in found.rows]
        if target is None:
            for row in rows:
                del row["minus target"], row["fits"]
        print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
        print_lines(*filter(None, [found.verdict]), *found.notes)


def _cells(row: ConventionRow, title: str) -> dict[str, str]:
    measured = row.value is not None
    interval = "" if row.low is None or row.high is None else f"{row.low:.4g} to {row.high:.4g}"
    compared = {"real images": str(row.reference_count or ("unknown" if measured else ""))}
    if title != "FID":
        compared = {"prompts": str(row.prompts) if measured else ""}
    return {
        "convention": row.convention,
        "tools that use it": row.tools,
        title: "not measured" if row.value is None else f"{row.value:.6g}",
        "95% interval": interval,
        "images": str(row.count) if measured else "",
        **compared,
        "minus target": "" if row.distance is None else f"{row.distance:+.4g}",
        "fits": FITS[row.fit],
        "note": row.note.removeprefix("not measured: "),
    }
