"""What commands print: rows and JSON on stdout; errors, one sentence each, on stderr."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from evalkit.core import (
    EvalkitError,
    FailedMetricWarning,
    IncompleteRunWarning,
    MetricRow,
    NothingMeasuredWarning,
)

if TYPE_CHECKING:
    from evalkit.generate.generate import Estimate

# Set by the options --debug, which shows tracebacks, and --quiet: only results and errors.
state = {"debug": False, "quiet": False}
_LONGEST = 200  # characters of a path
_ALLOCATION = re.compile(
    r"(?i)not enough memory|can'?t allocate memory|cannot allocate|failed to map"
)


@contextlib.contextmanager
def clean() -> Iterator[None]:
    """Turn an error into one sentence and its exit code; show the log on stderr.

    A metric that fails, and a scoring without any value, end the command with exit code 2, and a
    model without a usable image or a stopped scorer with 3, after the results are printed. What
    the system refuses (a path, memory, a thread, an open file) is an error of the call, too: no
    place in the code needs to think of it.
    """
    from evalkit.terminal import show_logs

    level = logging.ERROR if state["quiet"] else logging.INFO
    show_logs(logging.DEBUG if state["debug"] else level)
    try:
        _check_current_folder()
        with _incomplete_runs() as problems:
            yield
    except EvalkitError as error:
        if state["debug"]:
            raise
        _print_error(error.message, error.hint, error.code)
        raise typer.Exit(error.exit_code) from error
    except BrokenPipeError:  # typer would end with 1, the code of a regression
        nobody_reads()
        _print_error("The output cannot be written: its reader has ended.", code="output")
        raise typer.Exit(2) from None
    except SYSTEM_ERRORS as error:
        message = system_error(error)
        if state["debug"] or not message:
            raise
        hint = "See `evalkit doctor` for memory and disk; `--debug` shows details."
        _print_error(message, hint, "system")
        raise typer.Exit(2) from error
    finally:
        with contextlib.suppress(ValueError):  # a closed stdout
            try:
                sys.stdout.flush()
            except BrokenPipeError:  # `| head`: what was read is enough, the exit code stays
                nobody_reads()
    if problems:
        for problem, one in problems.items():
            failed = type(one) is FailedMetricWarning
            hint = f"{getattr(one, 'hint', '') or 'Correct its code.'} {_KEPT}" if failed else ""
            _print_error(problem, hint, "incomplete")
        faults = FailedMetricWarning, NothingMeasuredWarning
        raise typer.Exit(2 if any(type(one) in faults for one in problems.values()) else 3)


def _check_current_folder() -> None:
    """Raise EvalkitError if it was removed: libraries end the process where they cannot load."""
    try:
        os.getcwd()
    except OSError as error:
        raise EvalkitError(
            "The current folder does not exist any more.", "Change to another folder.", code="cli-2"
        ) from error


# A disk or a file that is full, and a reader that has ended.
OUTPUT_ERRORS = (errno.ENOSPC, errno.EPIPE, errno.EFBIG, errno.EIO)
SYSTEM_ERRORS = (OSError, MemoryError, RuntimeError, UnicodeError, ImportError)


def system_error(error: BaseException) -> str:
    """What the system refused, in one sentence; "" if it is an error of another kind."""
    if isinstance(error, UnicodeEncodeError):
        found = error.object[error.start : error.end]
        return f"A name or a text holds {found!r}, which is not valid Unicode; expected UTF-8."
    if isinstance(error, OSError) and error.errno is not None:
        if error.errno in OUTPUT_ERRORS and not error.filename:
            return ""  # see app.main
        path = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        path = path if len(path) <= _LONGEST else f"{path[:_LONGEST]}…: "
        return f"The system refuses a file or a connection: {path}{error.strerror}."
    if isinstance(error, MemoryError) or "can't start new thread" in str(error):
        return "The memory or the number of threads that this process may use is not enough."
    if _ALLOCATION.search(str(error)):  # of torch, or while a library is loaded
        return "The memory that this process may use is not enough."
    return ""


def nobody_reads() -> None:
    """Python flushes stdout once more at its end, and where the object of stdout is replaced."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError):  # stdout without a file, as in a test
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


_KEPT = (
    "A run keeps its metrics: to drop this one, name the others with"
    " `evalkit score RUN --metrics fid,kid --only`."
)


@contextlib.contextmanager
def _incomplete_runs() -> Iterator[dict[str, Warning]]:
    """The IncompleteRunWarnings in this block, by their texts.

    Other warnings are shown as ever.
    """
    problems: dict[str, Warning] = {}
    with warnings.catch_warnings():
        show = warnings.showwarning

        def keep(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, IncompleteRunWarning):
                problems[str(message)] = cast(Warning, message)
            else:
                show(message, category, *where)

        warnings.simplefilter("always", IncompleteRunWarning)
        warnings.showwarning = keep
        yield problems


def _print_error(message: str, hint: str = "", code: str = "") -> None:
    ending = f" [{code}]" if code else ""
    print(f"error: {_one_line(message)}{ending}", file=sys.stderr)
    if hint:
        print(f"hint: {_one_line(hint)}", file=sys.stderr)


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def print_json(value: Any) -> None:
    print_json_text(json.dumps(value, indent=1, ensure_ascii=False))


def print_json_text(text: str) -> None:
    """JSON with invisible characters as JSON escapes: they must not reach the terminal."""
    print("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def print_lines(*texts: Path | str) -> None:
    """Each text on one line, without characters that control a terminal."""
    from evalkit.terminal import one_line

    for text in texts:
        print(one_line(str(text)))


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
    print_next(mend or then)
    print_lines(path)


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
