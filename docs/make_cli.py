"""Writes docs/cli.md from the --help of every command; with `--check` it only compares."""

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

Made from `--help` by `python docs/make_cli.py`; do not edit.

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | `gate` and `baseline update`: a regression; `crosscheck`: a value differs, or a tool fails |
| 2 | an error in the command, the configuration or the input: one sentence on stderr; \
or a metric or a model fails: the results of all others are written; or only scorers are \
named, and none can be measured |
| 3 | inconclusive, or a service or `--max-cost` stopped the run or a scorer: run it again to \
resume; or a model has no image at all or black ones only, or a judge no vote: everything is \
written, and one sentence on stderr |
| 4 | `gate`, `baseline update`, `compare`, `report` of several runs: they are not comparable |
| 130, 143 | stopped by Ctrl-C, by SIGTERM: one line on stderr; run it again to resume |

`run` and `score` print a table of the results on stdout, the next step on stderr, and the run
folder as the last line of stdout. The table has 80 columns and no colours in a pipe or a log, and
no colours where `NO_COLOR` is set; `--json` prints the rows in its place. Lists are tab-separated
lines with a header in a pipe. `evalkit --install-completion` installs completion for your shell.
"""


def commands(
    command: Any = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group with its path."""
    command = command or typer.main.get_command(app)
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


def page() -> str:
    """The content of docs/cli.md."""
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
        sys.exit(f"{PAGE} is out of date: run `python {Path(__file__).name}` in {PAGE.parent}")
