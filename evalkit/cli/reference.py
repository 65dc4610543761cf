"""The commands `evalkit reference …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.options import BatchSize, Device, Encoders, Json, OnBad
from evalkit.cli.output import clean, print_lines, print_rows

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Reference statistics, to which FID and related metrics compare.",
)

Where = Annotated[
    Path | None, typer.Option(help="Where to write them.  [default: the user's data folder]")
]
Description = Annotated[str, typer.Option(help="What the images are.")]
Licence = Annotated[str, typer.Option(help="The licence of the images.")]
Known = Annotated[str, typer.Argument(help="A name from `evalkit reference list`, or a path.")]


@app.command("build")
def reference_build(
    images: Annotated[
        str,
        typer.Argument(
            help="Real images: a folder, zip, tar shards, npz, dataset; or the word scenes."
        ),
    ],
    name: Annotated[
        str,
        typer.Option(help="The name of the statistics.  [default: that of the images]"),
    ] = "",
    out: Where = None,
    encoders: Encoders = "auto",
    device: Device = "auto",
    batch_size: BatchSize = 32,
    description: Description = "",
    licence: Licence = "not stated",
    on_bad: OnBad = "refuse",
    keep_all: Annotated[
        bool,
        typer.Option(
            "--keep-all", help="Store features of all images (4 bytes a value), not of 2,000."
        ),
    ] = False,
    compact: Annotated[
        bool,
        typer.Option(
            "--compact",
            help="Store all features as float16 and no moments: a small file.",
        ),
    ] = False,
) -> None:
    """Compute reference statistics of real images, or of the bundled data set (scenes).

    \b
    Examples:
      evalkit reference build photos/ --name my-photos
      evalkit reference build 'shards/train-{000..012}.tar' --name train --encoders inception
      evalkit reference build samples.npz --on-bad skip
    """
    with clean():
        from evalkit.reference.build import reference_build as function

        folder = function(
            images,
            name=name,
            out=out,
            encoders=encoders or "auto",
            device=device or "auto",
            batch_size=batch_size or 32,
            description=description,
            licence=licence,
            on_bad=on_bad,
            keep_all=keep_all,
            compact=compact,
        )
        print_lines(folder)


@app.command("import")
def reference_import(
    file: Annotated[
        Path,
        typer.Argument(
            help="A file of pytorch-fid, clean-fid, ADM, EDM, EDM2, torch-fidelity, dgm-eval "
            "or CMMD."
        ),
    ],
    name: Annotated[str, typer.Option(help="The name of the new reference.")],
    encoder: Annotated[
        str,
        typer.Option(
            help="The encoder whose convention the file follows, where it does not name one; your"
            " own as module:attribute."
        ),
    ] = "",
    count: Annotated[
        int,
        typer.Option(help="The number of images behind the file, where it does not state it."),
    ] = 0,
    description: Description = "",
    source: Annotated[str, typer.Option(help="Where the file comes from.")] = "",
    licence: Licence = "not stated",
    out: Where = None,
    encode_images: Annotated[
        bool,
        typer.Option(
            "--encode-images", help="Encode the images in it too (ADM), for kid and recall."
        ),
    ] = False,
    device: Device = "auto",
) -> None:
    """Make a reference of the statistics in another tool's file.

    \b
    Examples:
      evalkit reference import coco_val2014.npz --name coco --encoder inception-torch --count 40504
      evalkit reference import img512.pkl --name imagenet-512
    """
    with clean():
        from evalkit.reference.exchange import reference_import as function

        folder = function(
            file,
            name=name,
            encoder=encoder,
            count=count,
            description=description,
            source=source,
            licence=licence,
            out=out,
            encode_images=encode_images,
            device=device or "auto",
        )
        print_lines(folder)


@app.command("export")
def reference_export(
    name_or_path: Known,
    format: Annotated[
        str, typer.Option(help="pytorch-fid, clean-fid, edm, adm or torch-fidelity.")
    ],
    encoder: Annotated[
        str, typer.Option(help="Which encoder's statistics, where several fit the format.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(help="A file, or a folder for the file name of that tool.  [default: here]"),
    ] = None,
) -> None:
    """Write a reference as a file that another tool reads.

    \b
    Example:
      evalkit reference export my-photos --format clean-fid --out stats/
    """
    with clean():
        from evalkit.reference.exchange import reference_export as function

        print_lines(*function(name_or_path, format, encoder=encoder, out=out))


@app.command("list")
def reference_list(as_json: Json = False) -> None:
    """Show the reference statistics that are installed."""
    with clean():
        from evalkit.reference.files import reference_list as function

        rows = [
            (item.name, str(item.count or "unknown"), ", ".join(item.encoders), item.description)
            for item in function()
        ]
        print_rows(("name", "images", "encoders", "description"), rows, as_json)


@app.command("show")
def reference_show(name_or_path: Known) -> None:
    """Print the card of a reference: its images, their source, and how it was made."""
    with clean():
        from evalkit.reference.files import reference_show as function
        from evalkit.terminal import printable

        print(printable(function(name_or_path)), end="")
