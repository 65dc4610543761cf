"""Prompt lists that papers report, and whether a list is one of them.

A number on PartiPrompts is a number on all 1,632 of them. A list is recognised by a hash of its
prompts where evalkit knows it; a file that is named like a published list and holds others is said
to be so, and a run records the hash of its prompts.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from evalkit.core import EvalkitError, Prompt

_NEARLY = 0.9  # of the prompts of a list are in a changed copy of it
_BY_RULE = ("geneval",)  # drawn by geneval.py and not stored


class Suite(NamedTuple):
    """A published list of prompts."""

    name: str
    title: str
    prompts: int
    licence: str
    address: str
    groups: str
    claims: tuple[str, ...]  # parts of the names of its files: lower case, letters and digits
    sha256: str = ""  # `texts_sha256` of its prompts; "" if it is not known
    file: str = ""  # in the package, relative to evalkit/; "" if it does not come with evalkit
    published: str = ""  # what of its address is the list, where it does not come with evalkit
    parts: Mapping[str, str] = {}  # by group: the hash of those that are also lists of their own

    @property
    def is_bundled(self) -> bool:
        """Whether it comes with evalkit."""
        return bool(self.file) or self.name in _BY_RULE


@functools.cache
def suites() -> dict[str, Suite]:
    """All known lists by name."""
    table = tomllib.loads((files("evalkit.prompts") / "suites.toml").read_text("utf-8"))
    return {
        name: Suite(name, **{**entry, "claims": tuple(entry["claims"])})
        for name, entry in table.items()
    }


def texts_sha256(texts: Sequence[str]) -> str:
    """A hash of the texts of prompts in their order, by which two lists are the same."""
    found = hashlib.sha256()
    for text in texts:
        found.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return found.hexdigest()


def claimed(path: str) -> Suite | None:
    """The list that the name of a file says it is; the longest name counts."""
    name = re.sub(r"[^a-z0-9]", "", Path(path).name.lower())
    found = [(len(part), one) for one in suites().values() for part in one.claims if part in name]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def refuse_known(path: str) -> None:
    """Raise EvalkitError where a name that is no file is that of a list that evalkit lacks."""
    suite = suites().get(Path(path).name.partition(":")[0])
    if suite is not None and not os.path.exists(path):
        raise EvalkitError(
            f"{suite.title} is a known list of {suite.prompts:,} prompts, but it does not come with"
            " evalkit.",
            f"Get {suite.published} from {suite.address} (licence: {suite.licence}) and give that:"
            " `--prompts FILE`.",
            code="prompts-30",
        )


def doubt(path: str, prompts: Sequence[Prompt]) -> str:
    """Why a file is not the list that its name says it is, or that it nearly holds; "" without a
    doubt.
    """
    suite, count, name = claimed(path), len(prompts), Path(path).name
    known = recognised(prompts)[0]
    if known is not None and (suite is None or known == suite):
        return ""
    if near := "" if known else _near(prompts):
        return f"{name} has {near}"
    if suite is None:
        return ""
    if count != suite.prompts:
        found = f"{name} has {count:,} prompts and {suite.title} has {suite.prompts:,}"
    elif suite.sha256:
        found = f"{name} has as many prompts as {suite.title}, but others, or in another order"
    else:
        return ""
    return f"{found}: values on it are not values on {suite.title}"


def _near(prompts: Sequence[Prompt]) -> str:
    """Of which list of several parts these are a changed copy, or of which part; "" for none."""
    from evalkit.prompts import read_prompts  # which imports this module

    texts = Counter(prompt.text for prompt in prompts)
    for suite in (one for one in suites().values() if one.parts):
        every = read_prompts(suite.name)
        for part in ("", *suite.parts):
            listed = Counter(one.text for one in every if part in ("", one.group))
            count, same = listed.total(), (texts & listed).total()
            if same >= _NEARLY * max(count, len(prompts)):
                title = f"{suite.title} ({part})" if part else suite.title
                return (
                    f"{len(prompts):,} prompts, {same:,} of the {count:,} of {title}, and is"
                    f" another list or in another order: values on it are not values on {title}"
                )
    return ""


def identity(path: str, prompts: Sequence[Prompt]) -> str:
    """Which published list a file is, and how that is known; "" for none."""
    name = Path(path).name
    suite, part = recognised(prompts)
    if suite is not None:
        group = f" ({part})" if part else ""
        return f"{name} has the prompts of {suite.title}{group}, by their SHA-256"
    if (suite := claimed(path)) and not doubt(path, prompts):
        return (
            f"{name} is taken for {suite.title}: only its name and the number of its prompts"
            f" ({suite.prompts:,}) were checked"
        )
    return ""


def stated(source: str, prompts: Sequence[Prompt]) -> str:
    """What protocol.json says: which published list these are, how that is known, and its licence.

    source: the file or the name that was given for them. "" for prompts of no known list.
    """
    suite, part = recognised(prompts)
    how = "by the SHA-256 of its prompts"
    if suite is None and source:
        name, _, part = source.partition(":")
        suite, how = suites().get(name), "as evalkit has it"
        if suite is None or not suite.is_bundled:
            if said := doubt(source, prompts):
                return said
            suite, part, how = claimed(source), "", "by its name and the number of its prompts only"
    if suite is None:
        return ""
    group = f" ({part})" if part else ""
    return f"{suite.title}{group}, {how}; licence: {suite.licence}"


def recognised(prompts: Sequence[Prompt]) -> tuple[Suite | None, str]:
    """The list that has these prompts in this order, and the group, "" for all of it."""
    found = texts_sha256([prompt.text for prompt in prompts])
    for suite in suites().values():
        for part, known in {"": suite.sha256, **suite.parts}.items():
            if found == known:
                return suite, part
    return None, ""
