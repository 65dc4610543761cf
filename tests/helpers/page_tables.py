"""The tables of a page, as a browser finds them."""

from __future__ import annotations

import html.parser
from dataclasses import dataclass, field


@dataclass
class Cell:
    """One td or th with its attributes, and its text."""

    tag: str
    attributes: dict[str, str | None]
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join("".join(self.parts).split())


class Tables(html.parser.HTMLParser):
    """All tables, as lists of rows of cells."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[tuple[dict[str, str | None], list[list[Cell]]]] = []
        self._cell: Cell | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append((dict(attrs), []))
        elif tag == "tr":
            self.tables[-1][1].append([])
        elif tag in ("td", "th"):
            self._cell = Cell(tag, dict(attrs))
            self.tables[-1][1][-1].append(self._cell)
        elif tag == "span" and self._cell:
            self._cell.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell:
            self._cell.parts.append(data)

    def of_class(self, name: str) -> list[list[list[Cell]]]:
        """The tables of a class."""
        return [rows for attributes, rows in self.tables if name in (attributes.get("class") or "")]
