"""What commands print: rows and JSON on stdout; errors, one sentence each, on stderr."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from evalkit.core import EvalkitError, IncompleteRunWarning, MetricRow

if TYPE_CHECKING:
    from evalkit.generate.generate import Estimate

# Set by the options --debug, which shows tracebacks, and --quiet: only results and errors.
state = {"debug": False, "quiet": False}


@contextlib.contextmanager
def clean() -> Iterator[None]:
    """Turn an EvalkitError into one sentence and its exit code; show the log on stderr.

    A model without a usable image ends the command with exit code 3, after its results are printed.
    """
    from evalkit.terminal import show_logs

    level = logging.ERROR if state["quiet"] else logging.INFO
    show_logs(logging.DEBUG if state["debug"] else level)
    try:
        with _incomplete_runs() as problems:
            yield
    except EvalkitError as error:
        if state["debug"]:
            raise
        _print_error(error.message, error.hint)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt:
        print("stopped: run the same command again to resume.", file=sys.stderr)
        raise typer.Exit(130) from None
    except BrokenPipeError:  # typer would end with 1, the code of a regression
        nobody_reads()
        _print_error("The output cannot be written: its reader has ended.")
        raise typer.Exit(2) from None
    finally:
        with contextlib.suppress(ValueError):  # a closed stdout
            try:
                sys.stdout.flush()
            except BrokenPipeError:  # `| head`: what was read is enough, the exit code stays
                nobody_reads()
    if problems:
        for problem in dict.fromkeys(problems):
            _print_error(problem)
        raise typer.Exit(3)


def nobody_reads() -> None:
    """Python flushes stdout once more at its end."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115


@contextlib.contextmanager
def _incomplete_runs() -> Iterator[list[str]]:
    """The texts of the IncompleteRunWarnings in this block; other warnings are shown as ever."""
    problems: list[str] = []
    with warnings.catch_warnings():
        show = warnings.showwarning

        def keep(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, IncompleteRunWarning):
                problems.append(str(message))
            else:
                show(message, category, *where)

        warnings.simplefilter("always", IncompleteRunWarning)
        warnings.showwarning = keep
        yield problems


def _print_error(message: str, hint: str = "") -> None:
    print(f"error: {_one_line(message)}", file=sys.stderr)
    if hint:
        print(f"hint: {_one_line(hint)}", file=sys.stderr)


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


def print_metrics(rows: Sequence[MetricRow], path: Path, as_json: bool, then: str) -> None:
    """The rows as JSON; or a table, what to do next (by default `then`), and the folder."""
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
        return
    from evalkit.cli.table import mending_command, print_results
    from evalkit.report.facts import read_facts

    facts = read_facts(path)
    print_results(facts)
    mend = mending_command(facts)
    print_next(f"{mend}, then the same command again" if mend else then)
    print(path)


def print_next(text: str) -> None:
    """What to do next, in one line on stderr."""
    print_note(f"next: {text}")


def print_note(text: str) -> None:
    """One line on stderr, unless --quiet."""
    if not state["quiet"]:
        print(_one_line(text), file=sys.stderr)


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
