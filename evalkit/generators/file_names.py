"""File names that hold a prompt: `a-red-cube.png`, `00017-1234567-a red cube.png`, and the names
that services give: `ann_a_red_circle_on_the_gr_0b6ae9f0-….png`, also with `_0` to `_3`, `DALL·E
2026-01-02 10.11.12 - A red circle.png`.

A prompt must reach to the end of the name, less numbers, identifiers and `--ar_32` parameters
there. Before it may stand numbers, and in names that have a number or an identifier also words,
such as the user's name: the same words before at least two different prompts, or before every one.
A name that was cut off matches where only one prompt begins so.
"""

from __future__ import annotations

import bisect
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

LEAST = 20  # letters of a prompt that was cut off
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_PARAMETERS = re.compile(r"(?<=[\s_])(?:--|—)[a-z]+(?=[\s_]|$).*", re.IGNORECASE)
_END = re.compile(r"-(?:\d+|(?=[a-f]*\d)[0-9a-f]{8,})$")  # a number or a hash


class Reading(NamedTuple):
    """One way to read a name: the slug of a prompt, and what stands before it."""

    slug: str
    before: tuple[str, ...]  # words, numbers as "#"
    numbered: bool  # whether the name has a number or an identifier besides the prompt


def slug(text: str) -> str:
    """`A cat's "hat", 2` -> `a-cats-hat-2`: what prompts and file names are compared by."""
    return re.sub(r"[\W_]+", "-", re.sub("['\u2019`]", "", text.casefold())).strip("-")


def prompts_in_names(names: Sequence[str], prompts: Iterable[str]) -> dict[str, str]:
    """name without suffix -> slug of the prompt that it holds; names that hold none, or could hold
    several, are left out.
    """
    known = sorted({slug(prompt) for prompt in prompts} - {""})
    readings = {name: found for name in names if (found := _read(name, known))}
    prompts_after: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for found in readings.values():
        if _words(found):
            prompts_after[found.before].add(found.slug)
    usual = {
        before
        for before, after in prompts_after.items()
        if len(after) > 1 or len(prompts_after) == 1
    }
    return {
        name: found.slug
        for name, found in readings.items()
        if not _words(found) or (found.numbered and found.before in usual)
    }


def _words(found: Reading) -> bool:
    return any(word != "#" for word in found.before)


def _read(name: str, known: Sequence[str]) -> Reading | None:
    """The longest prompt that reaches to the end of the name, else the only one that begins with
    the end of it.
    """
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
                    return Reading(
                        found, before, "#" in before or plain != name or spelling != shorter
                    )
    return None


def _prompt(text: str, known: Sequence[str], whole: bool) -> str:
    """The prompt of this slug, or the only one that begins with it; "" where there is none."""
    at = bisect.bisect_left(known, text)
    if whole:
        return text if at < len(known) and known[at] == text else ""
    following = [slug for slug in known[at : at + 2] if slug.startswith(text)]
    return following[0] if len(text) >= LEAST and len(following) == 1 else ""
