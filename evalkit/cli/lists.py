"""The commands `evalkit list …` and `evalkit doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.options import Json
from evalkit.cli.output import clean, print_rows

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Installed plug-ins, trainings, runs, and the contents of the bundled data set.",
)


@app.command("generators")
def list_generators(as_json: Json = False) -> None:
    """Generators and their options."""
    with clean():
        from evalkit.listing import generators

        print_rows(*generators(), as_json)


@app.command("encoders")
def list_encoders(as_json: Json = False) -> None:
    """Encoders, with the state and licence of their weights."""
    with clean():
        from evalkit.listing import encoders

        print_rows(*encoders(), as_json)


@app.command("metrics")
def list_metrics(as_json: Json = False) -> None:
    """Metrics: what each measures, its range, encoder and inputs, and the paper."""
    with clean():
        from evalkit.listing import metrics

        print_rows(*metrics(), as_json)


@app.command("training")
def list_training(as_json: Json = False) -> None:
    """Trainable models: presets with size, steps, batch and cost, and the options of --set."""
    with clean():
        from evalkit.training.presets import listing

        print_rows(*listing(), as_json)


@app.command("runs")
def list_runs(
    folder: Annotated[Path, typer.Argument(help="Where the runs are.")] = Path("reports"),
    as_json: Json = False,
) -> None:
    """Run folders."""
    with clean():
        from evalkit.listing import runs

        print_rows(*runs(folder), as_json)


@app.command("scenes")
def list_scenes(as_json: Json = False) -> None:
    """The vocabulary of the bundled data set: objects, shapes, colours, relations and styles."""
    with clean():
        from evalkit.listing import scenes

        print_rows(*scenes(), as_json)


def doctor(as_json: Json = False) -> None:
    """Check this machine and installation: versions, memory, disk, weights, encoders."""
    with clean():
        from evalkit.diagnosis import doctor as function

        rows = [(item.topic, item.finding, "yes" if item.good else "no") for item in function()]
        print_rows(("topic", "finding", "good"), rows, as_json)
