"""The text that a prompt puts in quotation marks: what is to be written in the image."""

# ruff: noqa: RUF001 (the marks look alike)

from __future__ import annotations

import re

_LETTER = (
    "[^\\W\u3040-\u30ff\u3400-\u9fff]"  # or a digit, of a script that puts spaces around words
)
_ELIDED = "(?!(?:n|em|til|tis|twas)\\b)"  # rock 'n' roll: words that begin with an apostrophe


def _pair(start: str, end: str) -> str:
    return f"{start}([^{start}{end}]+){end}"


def _same(mark: str) -> str:
    """One mark for both ends: 12" is a length, as no quote opens after a letter or digit."""
    return rf"(?<!{_LETTER}){mark}(?=\S)([^{mark}]+)(?<=\S){mark}(?!{_LETTER})"


def _single(start: str, end: str) -> str:
    """A mark that also is the apostrophe, which stands between letters: 'Don't stop'."""
    inside = rf"(?:[^{start}{end}]|(?<={_LETTER}){end}(?={_LETTER}))+"
    return rf"(?<!{_LETTER}){start}{_ELIDED}(?=\S)({inside})(?<=\S){end}(?!{_LETTER})"


_QUOTED = re.compile(
    "|".join(
        [_pair(*marks) for marks in ("“”", "„“", "„”", "«»", "»«", "‹›", "›‹", "「」", "『』")]
        + [_same(mark) for mark in '"”＂']
        + [_single(*marks) for marks in ("''", "‘’", "‚‘")]
    )
)


def quoted_places(prompt: str) -> list[tuple[int, int]]:
    """Start and end of each text of `quoted` with its marks, in order."""
    return [one.span() for one in _QUOTED.finditer(prompt)]


def quoted(prompt: str) -> list[str]:
    """The texts in quotation marks in the order of the prompt, without the marks.

    Known are straight, curly and low marks, guillemets, CJK brackets, and single marks where they
    are no apostrophes. Of quotes within quotes, the outer ones count.
    """
    found = (next(filter(None, one.groups())).strip() for one in _QUOTED.finditer(prompt))
    return [text for text in found if text]
