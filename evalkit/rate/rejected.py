"""`ratings/rejected.csv`: every value of imported files that was not taken, and why."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Sequence

from evalkit.escape import spreadsheet_row, to_csv
from evalkit.files import write_atomically
from evalkit.rate.answers import Problem
from evalkit.run_folder import Run

REJECTED = ("source_file", "line", "column", "value", "reason")  # columns of rejected.csv
SHOWN = 20  # problems in the terminal
_logger = logging.getLogger("evalkit")


def write_rejected(run: Run, files: Iterable[str], rows: Sequence[Problem]) -> None:
    """Replace the rows of these files in rejected.csv; those of earlier imports stay."""
    earlier: list[list[str]] = []
    names = {*files}
    if run.rejected_path.is_file():
        with run.rejected_path.open(newline="", encoding="utf-8") as file:
            earlier = [row for row in list(csv.reader(file))[1:] if row and row[0] not in names]
    if not rows and not earlier and not run.rejected_path.exists():
        return
    # People open this file in a spreadsheet, and its values may come from anybody.
    found = map(spreadsheet_row, rows)
    write_atomically(run.rejected_path, to_csv([REJECTED, *earlier, *found]))


def in_file_order(files: Sequence[str], rows: Iterable[Problem]) -> list[Problem]:
    """The rows file by file, by their lines."""

    def place(row: Problem) -> tuple[int, int]:
        return files.index(row.file), int("".join(filter(str.isdecimal, row.line)) or 0)

    return sorted(rows, key=place)


def show_problems(problems: Sequence[Problem]) -> None:
    """The first problems, one line each."""
    for file, line, column, value, reason in problems[:SHOWN]:
        number = f"line {line}" if line.isdecimal() else line
        place = ", ".join(part for part in (file, number, column) if part)
        _logger.warning("%s: %s", place, f"{value!r}: {reason}" if value else reason)
    if len(problems) > SHOWN:
        _logger.warning("and %d more", len(problems) - SHOWN)
