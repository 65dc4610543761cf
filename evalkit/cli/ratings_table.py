"""The ratings of a run at a terminal: one block per study."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.cli.stdout import Stdout
from evalkit.core import AgreementRow
from evalkit.ratings.summary_file import PollSummary
from evalkit.report.ratings import AGREEMENT, CHANCE, RATERS, PollText, texts
from evalkit.terminal import printable


def print_ratings(
    found: Sequence[PollSummary],
    agreement: Sequence[AgreementRow],
    measured: Sequence[str] = (),
) -> None:
    """Print each study: its questions, the metrics that agree with it, and its raters."""
    console = Stdout()
    made = texts(found, agreement, measured)
    for study, kind in dict.fromkeys((poll.study, poll.kind) for poll in found):
        own = [one for one in made if (one.poll.study, one.poll.kind) == (study, kind)]
        console.print(Text(printable(f"{study} ({own[0].who})"), style="bold"))
        for one in own:
            _print_question(console, one)
        _print_table(console, RATERS, own[0].raters)
        for line in own[0].excluded:
            _say(console, line)
        console.print()


def _print_question(console: Console, one: PollText) -> None:
    _say(console, f"{one.question} {one.basis}")
    _print_table(console, one.header, one.rows)
    if one.matrix:
        _print_table(console, one.matrix_header, one.matrix)
    for line in one.lines:
        _say(console, line)
    if one.agreement:
        _say(console, CHANCE)
        _print_table(console, AGREEMENT, one.agreement)
    for line in one.trust:
        _say(console, line)
    console.print()


def _print_table(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False)
    for cell in header:
        table.add_column(Text(printable(cell)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def _say(console: Console, line: str) -> None:
    console.print(Text(printable(line)))
