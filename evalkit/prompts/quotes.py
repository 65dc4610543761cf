"""The text that a prompt puts in quotation marks: what is to be written in the image."""

# ruff: noqa: RUF001 (the marks look alike)

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

_LETTER = (
    "[^\\W\u3040-\u30ff\u3400-\u9fff]"  # or a digit, of a script that puts spaces around words
)
# What begins with an apostrophe: rock 'n' roll, the '90s (a quoted '90s' ends with a mark).
_ELIDED = "(?!(?:n|em|til|tis|twas)\\b|[0-9]0s\\b(?!['’]))"


def _same(mark: str) -> str:
    """One mark for both ends: 12" is a length, as no quote opens after a letter or digit."""
    return rf"(?<!{_LETTER}){mark}(?=\S)([^{mark}]+)(?<=\S){mark}(?!{_LETTER})"


def _single(start: str, end: str) -> str:
    """A mark that also is the apostrophe, which stands between letters: 'Don't stop'."""
    inside = rf"(?:[^{start}{end}]|(?<={_LETTER}){end}(?={_LETTER}))+"
    return rf"(?<!{_LETTER}){start}{_ELIDED}(?=\S)({inside})(?<=\S){end}(?!{_LETTER})"


# Marks that are the same at both ends, or the apostrophe too.
_FLAT = re.compile(
    "|".join([_same(mark) for mark in '"”＂'] + [_single(*marks) for marks in ("''", "‘’", "‚‘")])
)
# Marks that differ at both ends, which may nest: what each one closes. Some close and open.
_CLOSES = {"”": "“„", "“": "„", "»": "«", "«": "»", "›": "‹", "‹": "›", "」": "「", "』": "『"}
_OPEN = "“„«»‹›「『"


def quoted_places(prompt: str) -> list[tuple[int, int]]:
    """Start and end of each text of `quoted` with its marks, in order."""
    return [(start, end + 1) for start, end in _outermost(prompt)]


def quoted(prompt: str) -> list[str]:
    """The texts in quotation marks in the order of the prompt, without the marks.

    Known are straight, curly and low marks, guillemets, CJK brackets, and single marks where they
    are no apostrophes. Of quotes within quotes, the outer ones count.
    """
    found = (prompt[start + 1 : end].strip() for start, end in _outermost(prompt))
    return [text for text in found if text]


def _outermost(prompt: str) -> Iterator[tuple[int, int]]:
    """The places of the marks of each quote from the left that begins in no earlier one."""
    after = 0
    flat = _FLAT.search(prompt)
    for start, end in [*sorted(_paired(prompt)), (len(prompt), len(prompt))]:
        while flat is not None and flat.start() < start:
            if flat.start() >= after:
                yield flat.start(), flat.end() - 1
                after = flat.end()
            flat = _FLAT.search(prompt, max(after, flat.start() + 1))
        if after <= start < len(prompt):
            yield start, end
            after = end + 1


def _paired(prompt: str) -> Iterator[tuple[int, int]]:
    """The places of all two marks that belong together; each closes the last one that is open."""
    open_at: dict[str, list[int]] = defaultdict(list)
    for place, mark in enumerate(prompt):
        starts = [open_at[one][-1] for one in _CLOSES.get(mark, "") if open_at[one]]
        if starts:
            start = max(starts)
            open_at[prompt[start]].pop()
            yield start, place
        elif mark in _OPEN:
            open_at[mark].append(place)
