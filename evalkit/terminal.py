"""Output for a person at a terminal: progress bars and log lines on stderr, tables on stdout.

In a pipe there are no progress bars, and lists become tab-separated lines.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

T = TypeVar("T")
_BAR = 52  # columns of a bar, its counts and its rate
_logger = logging.getLogger("evalkit")


class Advance(Protocol):
    """Advance a progress bar by `count` and show `note` to its right."""

    def __call__(self, count: int, note: str = "") -> None: ...


@contextlib.contextmanager
def progress(description: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
    """A progress bar with its rate: `with progress("dalle", 100) as advance: advance(8)`.

    total: None if it is unknown. There is no bar if stderr is not a terminal, if there is nothing
    to do, or if the log shows errors only (--quiet).
    """
    if total == 0 or not sys.stderr.isatty() or _logger.level >= logging.ERROR:
        yield lambda count, note="": None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.1f} {unit}/s" if speed else f"- {unit}/s")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    console = Console(stderr=True)
    description = shorten(description, max(20, console.width - _BAR))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total, note="")
        yield lambda count, note="": bar.update(task, advance=count, note=note)


def track(
    items: Iterable[T], description: str, total: int | None, unit: str = "images"
) -> Iterator[T]:
    """The same items, with a progress bar that counts them."""
    with progress(description, total, unit) as advance:
        for item in items:
            yield item
            advance(1)


class StderrHandler(logging.Handler):
    """Writes to the current sys.stderr: a live progress bar replaces it to print above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        print(printable(self.format(record)), file=sys.stderr)


def printable(text: str) -> str:
    """The text without characters that control a terminal; a file name may contain them."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def one_line(text: str) -> str:
    """Printable text on one line."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def shorten(text: str, most: int) -> str:
    """Printable text on one line, shortened in the middle: names often differ at the end."""
    plain = one_line(text)
    if len(plain) <= most:
        return plain
    end = (most - 1) // 2
    return f"{plain[: most - 1 - end]}…{plain[len(plain) - end :]}"


def plugin_output() -> contextlib.AbstractContextManager[object]:
    """What plug-ins print goes to stderr: stdout holds the results of a command."""
    return contextlib.redirect_stdout(sys.stderr)


def show_logs(level: int = logging.INFO) -> None:
    """Show evalkit's log lines on stderr; called by the command line only, never on import."""
    _logger.setLevel(level)
    if not any(isinstance(handler, StderrHandler) for handler in _logger.handlers):
        _logger.addHandler(StderrHandler())


def show_page(page: Path, opened: bool) -> None:
    """Print the path of a page on stderr, and show it in the browser if `opened`."""
    print(f"report: {page}", file=sys.stderr)
    if opened:
        import webbrowser

        if not webbrowser.open(page.resolve().as_uri()):
            print("no browser was found: open the page above in one", file=sys.stderr)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout: drawn at a terminal, tab-separated lines with a header in a pipe."""
    if not sys.stdout.isatty():
        for row in (header, *rows):
            print(*row, sep="\t")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def dollars(amount: float | None) -> str:
    """`$1.20`; more digits for small amounts; `unknown` for None."""
    if amount is None:
        return "unknown"
    if amount >= 1 or amount == 0:
        return f"${amount:,.2f}"
    return f"${amount:.2g}" if amount < 0.01 else f"${amount:.3g}"
