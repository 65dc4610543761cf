"""Variants of prompts with small changes that do not change what is asked for.

A model that understands its prompts makes as good images of these as of the originals: HEIM's
measure of robustness (Lee et al., arXiv 2311.04287), whose rules these are, after NL-Augmenter
(Dhole et al., arXiv 2112.02721) and HELM. Text in quotation marks, which is to be written in the
image, is not changed. A variant has the seeds of its original, and metrics compare its images with
the text of the original.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from evalkit.core import EvalkitError, Prompt
from evalkit.hints import did_you_mean
from evalkit.prompts.quotes import quoted_places
from evalkit.seeds import MARK, kind_of, original_id

_TYPOS = 0.1  # of the letters
_MOST_SPACES = 3
# The keys beside each key of a QWERTY keyboard.
_BESIDE = {
    "q": "was", "w": "qesad", "e": "wsdfr", "r": "edfgt", "t": "rfghy", "y": "tghju", "u": "yhjki",
    "i": "ujklo", "o": "iklp", "p": "ol", "a": "qwsz", "s": "weadzx", "d": "erfcxs", "f": "rtgvcd",
    "g": "tyhbvf", "h": "yujnbg", "j": "uikmnh", "k": "iolmj", "l": "opk", "z": "asx", "x": "sdcz",
    "c": "dfvx", "v": "fgbc", "b": "ghnv", "n": "hjmb", "m": "jkn",
}  # fmt: skip
_LONG = {
    "can't": "cannot", "won't": "will not", "shan't": "shall not", "i'm": "i am", "let's": "let us",
    **{f"{verb}n't": f"{verb} not" for verb in (
        "are", "could", "did", "does", "do", "had", "has", "have", "is", "must", "need", "should",
        "was", "were", "would")},
    **{f"{who}'re": f"{who} are" for who in ("they", "we", "you")},
    **{f"{who}'s": f"{who} is" for who in ("he", "she", "it", "that", "there", "what", "who")},
    **{f"{who}'ve": f"{who} have" for who in ("i", "they", "we", "you")},
    **{f"{who}'ll": f"{who} will" for who in ("he", "i", "it", "she", "they", "we", "you")},
}  # fmt: skip
_SHORT = {long: short for short, long in _LONG.items()}


def _typos(text: str, draw: random.Random) -> str:
    return "".join(_typo(one, draw) for one in text)


def _typo(letter: str, draw: random.Random) -> str:
    if letter.lower() not in _BESIDE or draw.random() >= _TYPOS:
        return letter
    other = draw.choice(_BESIDE[letter.lower()])
    return other.upper() if letter.isupper() else other


def _spaces(text: str, draw: random.Random) -> str:
    return re.sub(" +", lambda _: " " * draw.randint(1, _MOST_SPACES), text)


def _replaced(text: str, table: dict[str, str]) -> str:
    def other(found: re.Match[str]) -> str:
        new = table[found[0].lower().replace("\u2019", "'")]
        return new[0].upper() + new[1:] if found[0][0].isupper() else new

    words = "|".join(sorted(table, key=len, reverse=True)).replace("'", "['\u2019]")
    return re.sub(rf"\b(?:{words})\b", other, text, flags=re.IGNORECASE)


def _changed(text: str, kind: str, draw: random.Random) -> str:
    """The text with a change of this kind, outside of what stands in quotation marks."""
    parts, end = [], 0
    for start, stop in quoted_places(text):
        parts += [KINDS[kind](text[end:start], draw), text[start:stop]]
        end = stop
    return "".join([*parts, KINDS[kind](text[end:], draw)])


KINDS: dict[str, Callable[[str, random.Random], str]] = {
    "lowercase": lambda text, _: text.lower(),
    "uppercase": lambda text, _: text.upper(),
    "typos": _typos,
    "spaces": _spaces,
    "contractions": lambda text, _: _replaced(text, _SHORT),
    "expansions": lambda text, _: _replaced(text, _LONG),
}


def check_kinds(kinds: Iterable[str], source: str = "") -> None:
    """Raises EvalkitError for an unknown kind of variant; source: the file that names it."""
    for kind in kinds:
        if kind not in KINDS:
            where = f"{source} sets perturb: " if source else ""
            raise EvalkitError(
                f"{where}There is no kind of prompt variants {kind!r}.",
                did_you_mean(kind, KINDS),
                code="prompts-27",
            )


def originals_of(prompts: Sequence[Prompt]) -> dict[int, int]:
    """The position of each variant in the list to that of its original."""
    place = {prompt.id: at for at, prompt in enumerate(prompts)}
    found = ((at, place.get(original_id(prompt.id), at)) for at, prompt in enumerate(prompts))
    return {at: original for at, original in found if at != original}


def unchanged(prompts: Sequence[Prompt], kinds: Iterable[str]) -> list[str]:
    """In words: how many of the prompts each kind leaves as they are, and so without a variant."""
    variants = originals_of(prompts)
    made = Counter(kind_of(prompts[at].id) for at in variants)
    count = len(prompts) - len(variants)
    return [
        f"{kind} leaves {count - made[kind]:,} of {count:,} prompts as they are: these have no such"
        " variant"
        for kind in dict.fromkeys([*kinds, *made])
        if made[kind] < count
    ]


def with_variants(prompts: Sequence[Prompt], kinds: Sequence[str], seed: int) -> list[Prompt]:
    """The prompts, then a variant of each and each kind, with the kind as its group.

    A variant has the id of its original with `~kind`. A prompt that the kind does not change has no
    variant, and those that the list has already stay as they are. `seed` is that of the run.

    Raises EvalkitError for a prompt with the id of a variant that is none: of another group, or
    without its original; and for another prompt in the group of a kind of variants.
    """
    known = {prompt.id for prompt in prompts}
    for one in prompts:
        kind = kind_of(one.id)
        if kind and not (one.group == kind and original_id(one.id) in known):
            raise EvalkitError(
                f"The prompt {one.text!r:.60} has the id {one.id!r}, which stands for a variant;"
                f" expected the group {kind!r} and the prompt {original_id(one.id)!r} in the list.",
                "Give it another id.",
                code="prompts-28",
            )
    originals = [one for one in prompts if not kind_of(one.id)]
    used = {*kinds, *(kind_of(one.id) for one in prompts)}
    for one in originals:
        if one.group in used - {""}:
            raise EvalkitError(
                f"The prompt {one.text!r:.60} has the group {one.group!r}, which is reserved for"
                " the variants of prompts.",
                "Give the group another name.",
                code="prompts-29",
            )
    made = [
        Prompt(f"{one.id}{MARK}{kind}", text, kind)
        for kind in kinds
        for one in originals
        if f"{one.id}{MARK}{kind}" not in known
        and (text := _changed(one.text, kind, random.Random(f"{seed}/{one.id}/{kind}"))) != one.text
    ]
    return [*prompts, *made]
