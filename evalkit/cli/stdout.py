"""Standard output as the commands write tables to it."""

from __future__ import annotations

from rich.console import Console

from evalkit.cli.output import nobody_reads


class Stdout(Console):
    """Texts as they are: without markup, emoji, and colours of numbers.

    Where its reader ends, as in `| head`, the rest is dropped and the command keeps its exit code.
    rich would end it with 1, which is the code of a regression.
    """

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nobody_reads()
