"""How far a text that was read is from the text that was asked for."""

# ruff: noqa: RUF001 (marks and dashes look alike)

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

# What counts as equal. All are of Unicode's NFKC form (NFC for "exact"), with single spaces.
CONVENTIONS = {
    "letters": "neither case nor punctuation nor symbols count",
    "folded": "case does not count",
    "exact": "everything counts",
}
_LIKE = {"'": "‘’‚‛′`´", '"': "“”„‟″«»", "-": "‐‑‒–—―−"}
_SAME = str.maketrans({one: plain for plain, every in _LIKE.items() for one in every})
_UNSPACED = re.compile("([\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff])")
_MOST_ORDERS = 5  # quotes: 120 orders


def normalized(text: str, convention: str) -> str:
    """The text as the convention compares it: its words with one space between them."""
    if convention == "exact":
        return " ".join(unicodedata.normalize("NFC", text).split())
    text = unicodedata.normalize("NFKC", text).casefold().translate(_SAME)
    text = unicodedata.normalize("NFKC", text)  # folding may leave characters apart
    if convention == "letters":
        text = re.sub("[-/_]", " ", text)
        text = "".join(
            one for one in text if one.isspace() or unicodedata.category(one)[0] in "LMN"
        )
    return " ".join(text.split())


def word_accuracy(asked: Sequence[str], read: str) -> float:
    """The share of the words of `asked` that are among those of `read`, in any order, 0 to 1.

    A word that is asked for twice must be there twice; words that nobody asked for do not count.
    This is the OCR recall of TextDiffuser's MARIO-Eval (arXiv 2305.10855), per image. A character
    of a script without spaces is a word.
    """
    wanted, found = Counter(_words(" ".join(asked))), Counter(_words(read))
    return (wanted & found).total() / wanted.total()


def _words(text: str) -> list[str]:
    return _UNSPACED.sub(r" \1 ", text).split()


def closest(asked: Sequence[str], read: str) -> str:
    """The texts of `asked` in the order that is nearest to `read`.

    A prompt does not say where each of its texts stands, so their order in the prompt does not
    count (up to five texts; with more it does).
    """
    orders = itertools.permutations(asked) if len(asked) <= _MOST_ORDERS else [asked]
    return min((" ".join(order) for order in orders), key=lambda one: edit_distance(one, read))


def edit_distance(a: str, b: str) -> int:
    """Levenshtein's distance: the fewest insertions, deletions and substitutions of characters.

    A column of the table of distances is held in the bits of two integers (Myers 1999, in the form
    of Hyyrö 2003): `up` and `down` are where it rises and falls by 1.
    """
    if not a:
        return len(b)
    places: dict[str, int] = {}
    for place, character in enumerate(a):
        places[character] = places.get(character, 0) | 1 << place
    every, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    up, down, distance = every, 0, len(a)
    for character in b:
        equal = places.get(character, 0)
        diagonal = (((equal & up) + up) ^ up) | equal | down
        rises = down | (every & ~(diagonal | up))
        falls = up & diagonal
        distance += bool(rises & last) - bool(falls & last)
        rises = (rises << 1) | 1
        up = ((falls << 1) | ~(diagonal | rises)) & every
        down = rises & diagonal & every
    return distance
