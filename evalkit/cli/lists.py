"""The commands `evalkit list …` and `evalkit doctor`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.options import Json
from evalkit.cli.output import clean, print_note, print_rows

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
    """Metrics: the question that each answers, and whether it can be measured here."""
    with clean():
        from evalkit.listing import metrics

        header, rows = metrics()
        if as_json or not sys.stdout.isatty():
            print_rows(header, rows, as_json)
            return
        _print_metrics([dict(zip(header, row, strict=True)) for row in rows])


@app.command("scorers")
def list_scorers(as_json: Json = False) -> None:
    """Scorers: the number that each gives an image and its prompt, and its options."""
    with clean():
        from evalkit.listing import scorers

        header, rows = scorers()
        if as_json or not sys.stdout.isatty():
            print_rows(header, rows, as_json)
            return
        _print_blocks([dict(zip(header, row, strict=True)) for row in rows])


@app.command("suites")
def list_suites(as_json: Json = False) -> None:
    """Published lists of prompts: their number, licence and groups, and how each is used."""
    with clean():
        from evalkit.listing import suites

        print_rows(*suites(), as_json)


def _print_metrics(metrics: list[dict[str, str]]) -> None:
    """Each metric as a block of indented lines, then the presets."""
    from evalkit.score.presets import PRESETS

    _print_blocks(metrics)
    lines = [
        f"{name}: {', '.join(members) or 'every installed metric'}"
        for name, members in PRESETS.items()
    ]
    _print_block("\npresets", "", lines)


def _print_blocks(rows: list[dict[str, str]]) -> None:
    """Each metric or scorer as a block of indented lines: a table would be too wide."""
    inputs = {"needs prompts": {"text"}, "needs a reference": {"real", "real_moments"}}
    for row in rows:
        given = {*row.get("needs", "").split(", ")}
        needs = [text for text, names in inputs.items() if names & given]
        better = f"{row['better']} is better" if row["better"] else ""
        facts = ", ".join(filter(None, [row["title"], better, row["range"], *needs]))
        options = f"options: {row['options']}" if row.get("options") else ""
        lines = (row["question"], options, f"here: {row['here']}", row["paper"])
        _print_block(row["name"], f": {facts}" if facts else "", [*filter(None, lines)])


def _print_block(name: str, facts: str, lines: list[str]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from evalkit.cli.stdout import Stdout

    console = Stdout()
    console.print(Text.assemble((name, "bold"), facts))
    for line in lines:
        console.print(Padding(Text(line), (0, 0, 0, 2), expand=False))


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
    """Check this installation: metrics against stored values, packages, folders, devices, weights.

    Each line is ok, or bad with what to do. A note is an optional part that is not there. Takes
    about ten seconds and needs no network. Exit code 2 if a line is bad.

    \b
    Example:
      evalkit doctor --json
    """
    with clean():
        from evalkit.core import EvalkitError
        from evalkit.doctor.doctor import doctor as function

        lines = function()
        print_rows(lines[0]._fields, [tuple(line) for line in lines], as_json)
        states = [line.state for line in lines]
        bad = [line for line in lines if line.state == "bad"]
        if bad:
            raise EvalkitError(
                f"{len(bad)} of {len(lines)} checks failed:"
                f" {', '.join(line.topic for line in bad)}.",
                bad[0].advice,
                code="cli-1",
            )
        print_note(f"all {states.count('ok')} checks are ok, {states.count('note')} notes")
