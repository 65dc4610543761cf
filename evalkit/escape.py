"""Text that people wrote, made safe for the languages that a report is written in. HTML is left to
Jinja's autoescape.
"""

from __future__ import annotations

import re
import unicodedata

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
    "-": "{-}",  # no ligature: "--" stays two hyphens
    "[": "{[}",  # not an option of the row break before it
    "]": "{]}",
    "?": "{?}",  # "?`" and "!`" are ligatures
    "!": "{!}",
    "*": "{*}",  # not the star of the row break before it
}
_MARKDOWN_BACKSLASH = set("\\`*_[]~|$")
_MARKDOWN_ENTITY = set("<>&@#")  # tags, entities, mentions, issue numbers


def visible(text: str) -> str:
    """Control, bidirectional and other invisible characters as `⟨U+202E⟩`, line breaks and tabs as
    spaces.
    """
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character in "\t\n\r\v\f\x85\u2028\u2029":
        return " "
    if (
        unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"}
        and character not in "\u200c\u200d"
    ):
        return f"⟨U+{ord(character):04X}⟩"
    return character


def markdown(text: str) -> str:
    """Plain text as GitHub-flavoured Markdown that renders as that text, in the middle of a line or
    in a table cell.
    """
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


def latex(text: str) -> str:
    """Plain text as LaTeX (T1, utf8). What pdflatex cannot set without further packages is written
    as its code point.
    """
    return "".join(_latex(character) for character in visible(text))


def _latex(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if ord(character) < 0x7F or 0xC0 <= ord(character) <= 0x17F:
        return character
    return r"\texttt{U+%04X}" % ord(character)  # noqa: UP031 (braces)
