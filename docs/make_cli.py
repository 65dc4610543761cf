"""Writes docs/cli.md from the --help of every command. `--check` only says whether the file is up
to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from typer.testing import CliRunner

from evalkit.cli.app import app

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# The command line

Made from `--help` by `python docs/make_cli.py`; do not edit. Exit codes: 0 fine, 1 the gate found a regression, 2 a mistake in the
command, configuration or input (one sentence on stderr), 3 inconclusive or incomplete (a service or --max-cost stopped the run; the same
command goes on), 4 runs that cannot be compared, 130 stopped by Ctrl-C.
"""


def commands(
    command: Any = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of the live tree with its path; groups too."""
    command = command or typer.main.get_command(app)
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


def page() -> str:
    """The whole of docs/cli.md."""
    parts = [HEAD]
    for path, _ in commands():
        shown = (
            CliRunner()
            .invoke(app, [*path, "--help"], prog_name="evalkit", terminal_width=100)
            .stdout
        )
        text = "\n".join(line.rstrip() for line in shown.strip().splitlines())
        parts.append(f"## {' '.join(('evalkit', *path))}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit(
            f"{PAGE} is not what --help says: run `python {Path(__file__).name}` in {PAGE.parent}"
        )
