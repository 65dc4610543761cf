"""Prompts in file names, as people and services name their downloads.

For example `a-red-cube.png`, `00017-1234567-a red cube.png`,
`ann_a_red_circle_on_the_gr_0b6ae9f0-….png` (also with `_0` to `_3`) and
`DALL·E 2026-01-02 10.11.12 - A red circle.png`.

The prompt is at the end of the name, before optional numbers, identifiers and `--ar_32` parameters.
Before the prompt there may be numbers. A name that has a number or an identifier may also have
words there, such as a user name: the same words must precede at least two different prompts, or
every prompt. A truncated name matches if exactly one prompt begins with it.
"""

from __future__ import annotations

import bisect
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

LEAST = 20  # letters of a truncated prompt
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_PARAMETERS = re.compile(r"(?<=[\s_])(?:--|—)[a-z]+(?=[\s_]|$).*", re.IGNORECASE)
_END = re.compile(r"-(?:\d+|(?=[a-f]*\d)[0-9a-f]{8,})$")  # a number or a hash


class Parsed(NamedTuple):
    """A file name in parts."""

    slug: str  # of the prompt
    before: tuple[str, ...]  # the words before the prompt, numbers as "#"
    numbered: bool  # whether the name has a number or an identifier besides the prompt

    @property
    def has_words(self) -> bool:
        return any(word != "#" for word in self.before)


def slug(text: str) -> str:
    """`A cat's "hat", 2` -> `a-cats-hat-2`: the form in which prompts and names are compared."""
    return re.sub(r"[\W_]+", "-", re.sub("['\u2019`]", "", text.casefold())).strip("-")


def prompts_in_names(names: Sequence[str], prompts: Iterable[str]) -> dict[str, str]:
    """File name without suffix -> slug of its prompt, for names with exactly one prompt."""
    known = sorted({slug(prompt) for prompt in prompts} - {""})
    parsed = {name: found for name in names if (found := _parse(name, known))}
    prompts_after: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for found in parsed.values():
        if found.has_words:
            prompts_after[found.before].add(found.slug)
    common = {
        before
        for before, after in prompts_after.items()
        if len(after) > 1 or len(prompts_after) == 1
    }
    return {
        name: found.slug
        for name, found in parsed.items()
        if not found.has_words or (found.numbered and found.before in common)
    }


def _parse(name: str, known: Sequence[str]) -> Parsed | None:
    """The longest prompt at the end of the name, else a truncated one."""
    plain = _UUID.sub(" ", name)
    shorter = slug(_PARAMETERS.sub("", plain))
    spellings = [shorter]
    while (cut := _END.sub("", spellings[-1])) != spellings[-1]:
        spellings.append(cut)
    for whole in (True, False):
        for spelling in spellings:
            parts = spelling.split("-")
            for start in range(len(parts)):
                found = _prompt("-".join(parts[start:]), known, whole)
                if found:
                    before = tuple("#" if part.isdecimal() else part for part in parts[:start])
                    numbered = "#" in before or plain != name or spelling != shorter
                    return Parsed(found, before, numbered)
    return None


def _prompt(text: str, known: Sequence[str], whole: bool) -> str:
    """The slug that equals the text, or the only one that begins with it, else ""."""
    at = bisect.bisect_left(known, text)
    if whole:
        return text if at < len(known) and known[at] == text else ""
    following = [slug for slug in known[at : at + 2] if slug.startswith(text)]
    return following[0] if len(text) >= LEAST and len(following) == 1 else ""
