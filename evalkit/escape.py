"""Escapes user-written text for Markdown, LaTeX and CSV. HTML is escaped by Jinja's autoescape."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": "{-}",  # not a ligature: "--" stays two hyphens
    "[": "{[}",  # after a row break it would be read as its option
    "]": "{]}",
    "?": "{?}",  # "?`" and "!`" are ligatures
    "!": "{!}",
    "*": "{*}",  # after a row break it would be read as its star
    "…": r"\textellipsis{}",
    "\u2013": r"\textendash{}",
    "\u2014": r"\textemdash{}",
    "\u2018": r"\textquoteleft{}",
    "\u2019": r"\textquoteright{}",
    "\u201c": r"\textquotedblleft{}",
    "\u201d": r"\textquotedblright{}",
    "\u00d7": r"\texttimes{}",
}
# A spreadsheet runs a cell that begins with one of these as a formula, quoted or not; | and % are
# in the rule of defusedcsv. With `'` before it, it is a formula that somebody has guarded already:
# it gets one more, so that each text comes back as it was.
_FORMULA = re.compile(r"'*(\s*[=+@|%-]|[ \u00a0]*[\t\r])")
_MARKDOWN_BACKSLASH = set("\\`*_[]~|$")
_MARKDOWN_ENTITY = set("<>&@#")  # tags, entities, mentions, issue numbers


def visible(text: str) -> str:
    """Invisible characters (control, bidirectional, …) as `⟨U+202E⟩`; line breaks as spaces."""
    if text.isprintable():
        return text
    return "".join(_visible(character) for character in text)


def visible_lines(text: str) -> str:
    """The text with its line breaks, and with invisible characters as `visible` shows them."""
    return "\n".join(map(visible, text.split("\n")))


def _visible(character: str) -> str:
    if character in "\t\n\r\v\f\x85\u2028\u2029":
        return " "
    if character in "\u200c\u200d":  # the joiners of Persian, Indic scripts and emoji
        return character
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"}:
        return f"⟨U+{ord(character):04X}⟩"
    return character


def markdown(text: str) -> str:
    """Plain text as GitHub-flavoured Markdown, for use within a line or in a table cell."""
    escaped = []
    for character in visible(text):
        if character in _MARKDOWN_BACKSLASH:
            escaped.append(f"\\{character}")
        elif character in _MARKDOWN_ENTITY:
            escaped.append(f"&#{ord(character)};")
        else:
            escaped.append(character)
    text = re.sub(r":(?=\S)", "&#58;", "".join(escaped))  # addresses and emoji names
    return re.sub(r"(?i)\bwww\.", lambda match: f"{match[0][:-1]}&#46;", text)


def attribute(text: str) -> str:
    """Plain text as the value of a quoted HTML attribute inside a Markdown table."""
    return "".join(c if c.isalnum() or c in " ,.-" else f"&#{ord(c)};" for c in visible(text))


def spreadsheet_cell(text: str) -> str:
    """The text as a cell of CSV that no spreadsheet runs: a formula has `'` before it."""
    return f"'{text}" if _FORMULA.match(text) else text


def spreadsheet_row(cells: Iterable[object]) -> list[object]:
    """The cells of a row, of which the texts are a `spreadsheet_cell`."""
    return [spreadsheet_cell(cell) if isinstance(cell, str) else cell for cell in cells]


def without_guard(text: str) -> str:
    """The text of a cell that `spreadsheet_cell` wrote."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text[1:]) else text


def to_csv(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV with lines that end in \\n; a cell may hold any character, \\r too.

    csv.writer quotes the characters of the line end only, and readers refuse a bare \\r.
    """
    lines: list[str] = []
    file: Any = SimpleNamespace(write=lambda line: lines.append(line.removesuffix("\r\n") + "\n"))
    csv.writer(file, lineterminator="\r\n").writerows(rows)
    return "".join(lines)


def latex(text: str) -> str:
    """Plain text as LaTeX (T1, utf8).

    A character that pdflatex cannot set without further packages is written as its code point.
    """
    return "".join(_latex(character) for character in visible(text))


def _latex(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if ord(character) < 0x7F or 0xC0 <= ord(character) <= 0x17F:
        return character
    return r"\texttt{U+%04X}" % ord(character)  # noqa: UP031 (braces)
