"""Standard output as the commands write tables to it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.segment import Segment

from evalkit.cli.output import nobody_reads
from evalkit.report.numbers import DASH, MINUS
from evalkit.terminal import printable

_PLAIN = {"±": "+-", "↓": "v", "↑": "^", "…": "~", DASH: "-"}


def plain(text: str) -> str:
    """The text with a minus sign that can be typed and searched for.

    Other signs that the encoding of stdout does not have are replaced by plain ones, too.
    """
    text, encoding = text.replace(MINUS, "-"), sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = "".join(_PLAIN.get(character, character) for character in text)
        text = text.encode(encoding, "replace").decode(encoding)
    return text


class Stdout(Console):
    """Texts as they are: without markup, emoji, and colours of numbers.

    Characters of a text that control a terminal are replaced, and signs as in `plain`.

    Where its reader ends, as in `| head`, the rest is dropped and the command keeps its exit code.
    rich would end it with 1, which is the code of a regression.
    """

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False)

    def render(self, *shown: Any, **options: Any) -> Iterable[Segment]:
        for segment in super().render(*shown, **options):
            if not segment.control:
                segment = segment._replace(text=plain(printable(segment.text)))
            yield segment

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nobody_reads()
