"""What commands print: rows and JSON on stdout; errors, one sentence each, on stderr."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from evalkit.core import EvalkitError, MetricRow

if TYPE_CHECKING:
    from evalkit.generate.generate import Estimate

state = {"debug": False}  # set by --debug, which shows tracebacks


@contextlib.contextmanager
def clean() -> Iterator[None]:
    """Turn an EvalkitError into one sentence and its exit code; show the log on stderr."""
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
        print("stopped: run the same command again to resume.", file=sys.stderr)
        raise typer.Exit(130) from None


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


def print_rows(header: tuple[str, ...], rows: list[tuple[str, ...]], as_json: bool) -> None:
    from evalkit.terminal import print_table

    if as_json:
        print_json([dict(zip(header, row, strict=True)) for row in rows])
    else:
        print_table(header, rows)


def print_metrics(rows: Sequence[MetricRow], path: Path, as_json: bool) -> None:
    from evalkit.terminal import METRIC_HEADER, metric_cells, print_table

    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
        return
    if sys.stdout.isatty():
        print_table(METRIC_HEADER, [metric_cells(row) for row in rows])
    print(path)


def print_estimates(rows: Sequence[Estimate], as_json: bool = False) -> None:
    """The missing images, price and total of each model; unknown prices are named on stderr."""
    from evalkit.terminal import dollars, print_table

    if as_json:
        print_json([row._asdict() for row in rows])
    else:
        shown = [
            (row.model, f"{row.missing} of {row.requested}", dollars(row.price), dollars(row.total))
            for row in rows
        ]
        known = [row.total for row in rows if row.total is not None]
        total = dollars(sum(known)) + " and more" * (len(known) < len(rows))
        shown.append(("total", str(sum(row.missing for row in rows)), "", total))
        print_table(("model", "images missing", "US dollars per image", "total"), shown)
    for row in rows:
        if row.price is None:
            print(
                f"The price of {row.model} is not known: "
                f"give it with `--set {row.model}.price=0.04`.",
                file=sys.stderr,
            )


def print_version(wanted: bool) -> None:
    """The callback of --version."""
    if wanted:
        import evalkit

        print(evalkit.__version__)
        raise typer.Exit
