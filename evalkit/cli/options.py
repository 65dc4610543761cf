"""What the commands share: their options, how a mistake is said, how rows are printed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from evalkit.core import EvalkitError, MetricRow

if TYPE_CHECKING:
    from evalkit.generate.generate import Estimate

Models = Annotated[
    str | None,
    typer.Option(help="Names, package.module:attribute, or folders of images, joined by commas."),
]
Prompts = Annotated[
    str | None,
    typer.Option(
        help="A file (txt, jsonl, csv, COCO captions json), or the bundled suite, or suite:GROUP."
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(help="A TOML file with the same keys, such as another run's run.toml. Flags win."),
]
Out = Annotated[
    str | None,
    typer.Option(
        help="The run folder.  [default: a folder in reports/ that the same command finds again]"
    ),
]
PerPrompt = Annotated[int | None, typer.Option(help="Images per prompt.  [default: 1]")]
Seed = Annotated[
    int | None,
    typer.Option(help="The run's seed; each image derives its own from it.  [default: 0]"),
]
Reference = Annotated[
    str | None,
    typer.Option(help="Reference statistics: a name from `evalkit reference list`, or a path."),
]
Metrics = Annotated[
    str | None, typer.Option(help="Names joined by commas, or all.  [default: the usual set]")
]
Encoders = Annotated[
    str | None,
    typer.Option(
        show_default=False, help="auto, standard, mini, or names joined by commas.  [default: auto]"
    ),
]
Device = Annotated[
    str | None,
    typer.Option(show_default=False, help="auto, cpu, cuda, cuda:1, mps or xpu.  [default: auto]"),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        show_default=False, help="Images per batch; no result depends on it.  [default: 32]"
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="An option of a model: dalle.temperature=0.9. May be repeated."),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        help="US dollars that remote services may cost in this run; then it stops cleanly."
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Print what the images would cost, and stop: nothing is sent or written."
    ),
]
Again = Annotated[
    bool,
    typer.Option(
        "--retry-ambiguous",
        help="Ask again where a request was sent and no answer came: it may be charged twice.",
    ),
]
OnBad = Annotated[
    Literal["refuse", "skip"],
    typer.Option(help="Images that cannot be taken: refuse the set, or skip and name them."),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the rows as JSON, and nothing else, on stdout.")
]
Folder = Annotated[Path, typer.Argument(help="A run folder.")]
Open = Annotated[bool, typer.Option("--open", help="Show the report in the browser.")]

state = {"debug": False}  # of this process: --debug shows tracebacks


@contextlib.contextmanager
def clean() -> Iterator[None]:
    """One sentence and an exit code for what the user can mend; the log on stderr."""
    from evalkit.terminal import show_logs

    show_logs(logging.DEBUG if state["debug"] else logging.INFO)
    try:
        yield
    except EvalkitError as error:
        if state["debug"]:
            raise
        print(f"error: {_one_line(error.message)}", file=sys.stderr)
        if error.hint:
            print(f"hint: {_one_line(error.hint)}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt:
        print("stopped: the same command goes on where this one stopped.", file=sys.stderr)
        raise typer.Exit(130) from None


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def split(names: str | None) -> tuple[str, ...] | None:
    from evalkit.config import split_names

    return None if names is None else split_names(names)


def print_metrics(rows: Sequence[MetricRow], path: Path, as_json: bool) -> None:
    from evalkit.terminal import METRIC_HEADER, metric_cells, print_table

    if as_json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=1, ensure_ascii=False))
        return
    if sys.stdout.isatty():
        print_table(METRIC_HEADER, [metric_cells(row) for row in rows])
    print(path)


def print_estimates(rows: Sequence[Estimate], as_json: bool) -> None:
    """What --dry-run shows: images missing, price and total of each model, and on stderr the prices
    that are not known.
    """
    from evalkit.terminal import dollars, print_table

    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=1, ensure_ascii=False))
    else:
        shown = [
            (row.model, f"{row.missing} of {row.requested}", dollars(row.price), dollars(row.total))
            for row in rows
        ]
        known = [row.total for row in rows if row.total is not None]
        shown.append(
            (
                "total",
                str(sum(row.missing for row in rows)),
                "",
                dollars(sum(known)) + " and more" * (len(known) < len(rows)),
            )
        )
        print_table(("model", "images missing", "US dollars per image", "total"), shown)
    for row in rows:
        if row.price is None:
            print(
                f"The price of {row.model} is not known: give it with `--set {row.model}.price=0.04`.",
                file=sys.stderr,
            )


def print_rows(header: tuple[str, ...], rows: list[tuple[str, ...]], as_json: bool) -> None:
    from evalkit.terminal import print_table

    if as_json:
        print(
            json.dumps(
                [dict(zip(header, row, strict=True)) for row in rows], indent=1, ensure_ascii=False
            )
        )
    else:
        print_table(header, rows)


def print_version(wanted: bool) -> None:
    """The callback of --version."""
    if wanted:
        import evalkit

        print(evalkit.__version__)
        raise typer.Exit
