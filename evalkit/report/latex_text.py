"""Text, numbers and names of models in LaTeX, and how wide they are.

Sizes are in points. Text is measured without TeX, by the wider of Times and Computer Modern; the
tests compile the tables.
"""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.escape import latex, visible
from evalkit.report.labels import labels
from evalkit.report.numbers import DASH, MINUS

BODY, SMALL = 8.0, 7.0  # font sizes of a table, and of its intervals and notes
_SYMBOLS = {
    "∞": r"$\infty$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "†": r"\textsuperscript{\textdagger}",
}
_NARROW, _WIDE = frozenset("iljtfrI.,:;'|!()[]-` "), frozenset("mwMW@%…\u2014∞↓↑")


def escape(text: str) -> str:
    """`evalkit.escape.latex`, with the symbols of our own texts as symbols."""
    escaped = latex(text)
    for symbol, command in _SYMBOLS.items():
        escaped = escaped.replace(latex(symbol), command)
    return escaped


def number(text: str) -> str:
    """A number of the report as siunitx reads it; "" for a missing one."""
    return "" if text == DASH else text.replace(MINUS, "-").replace(",", "")


def printed(text: str) -> str:
    """A number or an interval as siunitx prints it: with a power of ten, for measuring."""
    return text.replace("e", " x 10")


def text_width(text: str, size: float = BODY) -> float:
    """The width of a plain text, rather too much than too little."""
    # Digits of Times are 0.5 em; those of Computer Modern at 7 points are 0.57 em.
    return 1.15 * size * sum(map(_em, visible(text)))


def interval_width(text: str) -> float:
    """The width of `low to high` as it is shown: in brackets and smaller."""
    return text_width(f"[{printed(text).replace(' to ', ', ')}]", SMALL) if text else 0.0


def names_of(names: Sequence[str], most: float) -> dict[str, str]:
    """A label for each name, at most this wide; different names get different labels.

    A name in a script that pdflatex cannot set is its number among the models where it is too wide
    as code points; the comments of the file state it.
    """
    shown = [
        _numbered(i, names) if _foreign(names[i], most) else names[i] for i in range(len(names))
    ]
    found: dict[str, str] = {}
    for characters in range(40, 3, -1):
        found = labels(shown, characters)
        if max(map(text_width, found.values()), default=0) <= most:
            break
    return {name: found[text] for name, text in zip(names, shown, strict=True)}


def _foreign(name: str, most: float) -> bool:
    return "{U+" in latex(name) and text_width(name) > most


def _numbered(place: int, names: Sequence[str]) -> str:
    text = f"model {place + 1}"
    while text in names:
        text = f"the {text}"
    return text


def _em(character: str) -> float:
    if character in _NARROW:
        return 0.29
    if character in _WIDE:
        return 0.9
    if character.isdigit() and character.isascii():
        return 0.5
    if character.isupper() or character in f"+<>=#&{MINUS}":
        return 0.72
    return 6 * 0.6 if "{U+" in latex(character) else 0.48  # a code point: U+65E5
