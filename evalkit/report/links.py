"""The links and images of a page: every tag that names another file."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import NamedTuple


class Link(NamedTuple):
    """A tag with a relative address."""

    start: int  # where the tag begins and ends in the page
    end: int
    tag: str
    address: str
    attributes: dict[str, str]  # the others


def links(page: str) -> list[Link]:
    """The tags of a page, in order, whose `src` or `href` is the address of another local file."""
    parser = _Parser(page)
    parser.feed(page)
    parser.close()
    return parser.found


class _Parser(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[Link] = []
        self._lines = [0, *(match.end() for match in re.finditer("\n", page))]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        address = values.pop("src", "") or values.pop("href", "")
        if not address or re.match(r"#|//|[a-z][a-z0-9+.-]*:", address, re.IGNORECASE):
            return
        line, column = self.getpos()
        start = self._lines[line - 1] + column
        end = start + len(self.get_starttag_text() or "")
        self.found.append(Link(start, end, tag, address, values))
