"""Standard output as the commands write tables to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.segment import Segment

from evalkit.cli.output import nobody_reads
from evalkit.terminal import printable


class Stdout(Console):
    """Texts as they are: without markup, emoji, and colours of numbers.

    Characters of a text that control a terminal are replaced.

    Where its reader ends, as in `| head`, the rest is dropped and the command keeps its exit code.
    rich would end it with 1, which is the code of a regression.
    """

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False)

    def render(self, *shown: Any, **options: Any) -> Iterable[Segment]:
        for segment in super().render(*shown, **options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nobody_reads()
