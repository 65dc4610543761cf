"""Output for a person at a terminal: progress bars and log lines on stderr, tables on stdout.

In a pipe, log lines take the place of progress bars, and lists become tab-separated lines.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from evalkit.core import MetricRow
from evalkit.hints import in_python

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

T = TypeVar("T")
LOG_AFTER, LOG_EVERY = 3.0, 30.0  # seconds: of progress without a bar
_BAR = 52  # columns of a bar, its counts and its rate
_COMMAND = re.compile(r"^\s*:(?=:)|(?<=#)#(?=\[)", re.MULTILINE)
_logger = logging.getLogger("evalkit")


class Advance(Protocol):
    """Advance a progress bar by `count` and show `note` to its right."""

    def __call__(self, count: int, note: str = "") -> None: ...


@contextlib.contextmanager
def progress(description: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
    """A progress bar with its rate: `with progress("dalle", 100) as advance: advance(8)`.

    total: None if it is unknown. If stderr is neither a terminal nor the output of a notebook, log
    lines with the count take the place of the bar, where the work takes more than a few seconds.
    There is neither if there is nothing to do, or if the log shows errors only (--quiet).
    """
    notebook = _in_notebook()
    shown = notebook or sys.stderr.isatty()
    if total == 0 or _logger.level >= logging.ERROR:
        yield lambda count, note="": None
        return
    if not shown:
        with _logged(description, total, unit) as advance:
            yield advance
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
    if notebook:  # drawn as text: in a notebook, rich would need ipywidgets
        plain = Console(file=io.StringIO(), width=100, color_system=None, force_jupyter=False)
        bar = Progress(*columns, console=plain, auto_refresh=False)
        task = bar.add_task(one_line(description), total=total, note="")
        with _shown_in_notebook(lambda: _text(plain, bar.get_renderable())) as show:

            def advance(count: int, note: str = "") -> None:
                bar.update(task, advance=count, note=one_line(note))
                show()

            yield advance
        return
    console = Console(stderr=True)
    description = shorten(description, max(20, console.width - _BAR))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total, note="")
        yield lambda count, note="": bar.update(task, advance=count, note=one_line(note))


@contextlib.contextmanager
def hub_bars() -> Iterator[None]:
    """Hide the progress bars of downloads by huggingface_hub where the log shows errors only."""
    from huggingface_hub import utils

    hidden = _logger.level >= logging.ERROR and not utils.are_progress_bars_disabled()
    if hidden:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if hidden:
            utils.enable_progress_bars()


@contextlib.contextmanager
def _logged(description: str, total: int | None, unit: str) -> Iterator[Advance]:
    """Log the count after a few seconds and then regularly, also during one long step."""
    done, started, finished = 0, time.monotonic(), threading.Event()
    of_total = "" if total is None else f" of {total:,}"

    def advance(count: int, note: str = "") -> None:
        nonlocal done
        done += count

    def report() -> None:
        pause = LOG_AFTER
        while not finished.wait(pause):
            seconds = time.monotonic() - started
            _logger.info(
                "%s: %s%s %s after %.0f s", description, f"{done:,}", of_total, unit, seconds
            )
            pause = LOG_EVERY

    thread = threading.Thread(target=report, daemon=True)
    if _logger.isEnabledFor(logging.INFO):
        thread.start()
    try:
        yield advance
    finally:
        finished.set()
        if thread.ident is not None:
            thread.join()


def _in_notebook() -> bool:
    """Whether a kernel of Jupyter, VS Code or Colab runs this."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython and ipython.get_ipython(), "kernel", None) is not None


def _text(console: Console, renderable: RenderableType) -> str:
    with console.capture() as found:
        console.print(renderable, end="")
    return found.get().rstrip()


@contextlib.contextmanager
def _shown_in_notebook(text: Callable[[], str]) -> Iterator[Callable[[], None]]:
    """An output of the cell that shows the text: at the start, on each call, and at the end.

    It changes at most five times a second, as each change is a message to the browser.
    """
    from IPython.display import DisplayHandle

    handle = DisplayHandle()
    handle.display({"text/plain": text()}, raw=True)
    last = time.monotonic()

    def show() -> None:
        nonlocal last
        if time.monotonic() - last > 0.2:
            last = time.monotonic()
            handle.update({"text/plain": text()}, raw=True)

    try:
        yield show
    finally:
        handle.update({"text/plain": text()}, raw=True)


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
        text = one_line(record.getMessage())
        if record.exc_info:
            text += "\n" + printable(logging.Formatter().formatException(record.exc_info))
        with contextlib.suppress(OSError):  # nobody reads it, or its file is full
            print(text, file=sys.stderr)


def printable(text: str) -> str:
    """The text without characters that control a terminal; a file name may contain them.

    In a job of GitHub, it holds no commands of the runner either: `::error::…` at the start of a
    line, and `##[…]` anywhere.
    """
    if os.environ.get("GITHUB_ACTIONS") == "true":
        text = _COMMAND.sub("\ufffd", text)
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def one_line(text: str) -> str:
    """Printable text on one line."""
    return printable(text).translate({ord("\n"): "\ufffd", ord("\t"): "\ufffd"})


def shorten(text: str, most: int) -> str:
    """Printable text on one line, shortened in the middle: names often differ at the end."""
    plain = one_line(text)
    if len(plain) <= most:
        return plain
    end = (most - 1) // 2
    return f"{plain[: most - 1 - end]}…{plain[len(plain) - end :]}"


def show_logs(level: int = logging.INFO) -> None:
    """Show evalkit's log lines on stderr; called by the command line only, never on import."""
    _logger.setLevel(level)
    if not _shows_logs():
        _logger.addHandler(StderrHandler())


def _shows_logs() -> bool:
    handlers = logging.getLogger("evalkit").handlers
    return any(isinstance(handler, StderrHandler) for handler in handlers)


def warn_not_measured(rows: Sequence[MetricRow]) -> None:
    """Warn in Python of metrics without a value, one line per reason.

    The command line has the reasons below its table.
    """
    if _shows_logs():
        return
    metrics: dict[str, list[str]] = {}
    for row in rows:
        if row.value is None and row.metric not in metrics.setdefault(row.note, []):
            metrics[row.note].append(row.metric)
    for note, names in metrics.items():
        _logger.warning("%s: %s", ", ".join(names), in_python(note))


def show_page(page: Path, opened: bool) -> None:
    """Print the path of a page on stderr, and show it in the browser if `opened`."""
    print(f"report: {one_line(str(page))}", file=sys.stderr)
    if opened:
        import webbrowser

        if not webbrowser.open(page.resolve().as_uri()):
            print("no browser was found: open the page above in one", file=sys.stderr)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout: drawn at a terminal, tab-separated lines with a header in a pipe."""
    if not sys.stdout.isatty():
        for row in (header, *rows):
            print(*map(one_line, row), sep="\t")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header)
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    Console().print(table)


def dollars(amount: float | None) -> str:
    """`$1.20`; more digits for small amounts, two at least; `unknown` for None."""
    if amount is None:
        return "unknown"
    if amount >= 1 or amount == 0:
        return f"${amount:,.2f}"
    short = f"{amount:.2g}" if amount < 0.01 else f"{amount:.3g}"
    return f"${max(short, f'{amount:.2f}', key=len)}"
