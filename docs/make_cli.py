"""Writes docs/cli.md and docs/cli/ from the --help of every command; with `--check` it compares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from typer.testing import CliRunner

from evalkit.cli.app import app
from evalkit.cli.commands import SECTIONS

DOCS = Path(__file__).parent
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

| | commands |
|---|---|
"""


def commands(
    command: Any = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group with its path."""
    command = command or typer.main.get_command(app)
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


def pages() -> dict[Path, str]:
    """The content of docs/cli.md, and of one page for each command or group."""
    parts: dict[str, list[str]] = {}
    for path, _ in commands():
        arguments = [*path, "--help"]
        shown = CliRunner().invoke(app, arguments, prog_name="evalkit", terminal_width=100).stdout
        text = "\n".join(line.rstrip() for line in shown.strip().splitlines())
        title = f"{'#' if len(path) == 1 else '##'} {' '.join(('evalkit', *path))}"
        name = f"cli/{path[0]}.md" if path else "cli.md"
        parts.setdefault(name, []).append(f"{title}\n\n```text\n{text}\n```\n")
    rows = [
        f"| {section} | {', '.join(f'[{name}](cli/{name}.md)' for name in names)} |\n"
        for section, names in SECTIONS.items()
    ]
    parts["cli.md"].insert(0, HEAD + "".join(rows))
    return {DOCS / name: "\n".join(texts) for name, texts in parts.items()}


if __name__ == "__main__":
    made = pages()
    there = [DOCS / "cli.md", *(DOCS / "cli").glob("*.md")]
    if "--check" not in sys.argv:
        for path, text in made.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for path in set(there) - set(made):
            path.unlink()
    elif {path: path.read_text(encoding="utf-8") for path in there} != made:
        sys.exit("docs/cli.md or docs/cli/ is out of date: run `python docs/make_cli.py`.")
