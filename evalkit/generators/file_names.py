"""Prompts in file names, as people and services name their downloads.

For example `a-red-cube.png`, `00017-1234567-a red cube.png`,
`ann_a_red_circle_on_the_gr_0b6ae9f0-….png` (also with `_0` to `_3`) and
`DALL·E 2026-01-02 10.11.12 - A red circle.png`.

The prompt is at the end of the name, before optional numbers, identifiers and `--ar_32` parameters.
Before the prompt there may be numbers. A name that has a number or an identifier may also have
words there, such as a user name: the same words must precede at least two different prompts, or
every prompt. A truncated name matches if exactly one prompt begins with it.

Names and prompts are compared in three spellings, from strict to loose: the text itself (Unicode
NFC), the text without case and punctuation, and without symbols and marks too. A loose spelling
that two prompts share matches neither.
"""

from __future__ import annotations

import bisect
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

FOLDER = ".folder"  # a suffix for a folder whose name is matched like that of a file
LEAST = 40  # letters of a truncated prompt
_SHOWS = 8  # letters with which a name that is shorter shows that it was to be a prompt
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


def exact(text: str) -> str:
    """The text in NFC: file systems of macOS store accents as letters of their own (NFD)."""
    return unicodedata.normalize("NFC", text).strip()


def stem_of(file: Path) -> str:
    """The name without a suffix (`at 3.5 m` has none); `a%20dog` of a download is `a dog`."""
    stem = file.stem if re.fullmatch(r"\.[a-zA-Z]\w{1,6}", file.suffix) else file.name
    return unquote(stem) if re.search("%[0-9A-Fa-f]{2}", stem) else stem


def signed(text: str) -> str:
    """`1+1 = 2 😀!` -> `1+1-=-2-😀`: without case and punctuation, with symbols and marks."""
    plain = re.sub("['\u2019`]", "", exact(text.casefold()))
    kept = (c if unicodedata.category(c)[0] in "LMNS" else "-" for c in plain)
    return re.sub("-+", "-", "".join(kept)).strip("-")


def slug(text: str) -> str:
    """`A cat's "hat", 2` -> `a-cats-hat-2`: letters and digits only, as services write names."""
    return re.sub(r"[\W_]+", "-", re.sub("['\u2019`]", "", exact(text.casefold()))).strip("-")


Spelling = Callable[[str], str]


def prompts_in_names(names: Sequence[str], prompts: Iterable[str]) -> dict[str, str]:
    """File name without suffix -> its prompt, for names with exactly one prompt."""
    texts = list(dict.fromkeys(prompts))
    whole = {exact(text): text for text in texts}
    found = {name: whole[text] for name in names if (text := _after_numbers(exact(name), whole))}
    loose = _by_spelling(texts, slug)
    for spelling in (signed, slug):
        known = _by_spelling(texts, spelling)
        # Names that are known already show which words precede a prompt.
        for name, (spelled, decorated) in _in_names(names, known, spelling).items():
            text = known[spelled][0]
            # A service may have removed the symbols that tell the two prompts apart.
            bare = decorated and len(loose.get(slug(text), ())) > 1 and signed(text) == slug(text)
            if len(known[spelled]) == 1 and not bare:
                found.setdefault(name, text)
    return found


def beginnings(names: Iterable[str], prompts: Iterable[str]) -> set[str]:
    """The names that begin exactly one prompt, but are too short to be sure of it."""
    known = sorted({slug(text) for text in prompts})
    return {
        name
        for name in names
        if _SHOWS <= len(slug(name)) < LEAST and _prompt(slug(name), known, whole=False, least=0)
    }


def _after_numbers(name: str, known: Mapping[str, object]) -> str:
    """The known text that the name is, or ends with after numbers (`00001-1234-a dog?`)."""
    numbers = re.match(r"[\d\s_.-]*", name)  # `2 cats` is not number 2 of "cats"
    ends = re.finditer(r"\s*[_-][\s_.-]*", name[: numbers.end()]) if numbers else ()
    places = [0, *(end.end() for end in ends)]
    return next((name[at:] for at in places if name[at:] in known), "")


def _by_spelling(texts: Iterable[str], spelling: Spelling) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        if spelling(text):
            found[spelling(text)].append(text)
    return found


def _in_names(
    names: Sequence[str], known: Mapping[str, object], spelling: Spelling
) -> dict[str, tuple[str, bool]]:
    """Name -> the spelling of the prompt in it, and whether the name holds more than that."""
    ordered = sorted(known)
    parsed = {name: found for name in names if (found := _parse(name, ordered, spelling))}
    prompts_after: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for found in parsed.values():
        if found.has_words:
            prompts_after[found.before].add(found.slug)
    common = {
        before for before, after in prompts_after.items() if len(after) > 1 or after >= set(known)
    }
    return {
        name: (found.slug, bool(found.before or found.numbered))
        for name, found in parsed.items()
        if not found.has_words or (found.numbered and found.before in common)
    }


def _parse(name: str, known: Sequence[str], spelling: Spelling) -> Parsed | None:
    """The longest prompt at the end of the name, else a truncated one."""
    plain = _UUID.sub(" ", name)
    shorter = spelling(_PARAMETERS.sub("", plain))
    spellings = [shorter]
    while (cut := _END.sub("", spellings[-1])) != spellings[-1]:
        spellings.append(cut)
    counted = re.match(r"\d+\s+[^\W\d_]", name) is not None
    for whole in (True, False):
        for spelled in spellings:
            parts = spelled.split("-")
            for start in range(len(parts)):
                if start and counted:
                    break  # `2 cats` is not number 2 of "cats"
                found = _prompt("-".join(parts[start:]), known, whole)
                if found:
                    before = tuple("#" if part.isdecimal() else part for part in parts[:start])
                    numbered = "#" in before or plain != name or spelled != shorter
                    return Parsed(found, before, numbered)
    return None


def _prompt(text: str, known: Sequence[str], whole: bool, least: int = LEAST) -> str:
    """The slug that equals the text, or the only one that begins with it, else ""."""
    at = bisect.bisect_left(known, text)
    if whole:
        return text if at < len(known) and known[at] == text else ""
    following = [slug for slug in known[at : at + 2] if slug.startswith(text)]
    return following[0] if len(text) >= least and len(following) == 1 else ""
